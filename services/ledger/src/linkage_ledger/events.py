"""What a leaf says: the header of one event, in bytes that have exactly one spelling.

A leaf is the canonical JSON (RFC 8785) of a header. Detail that is personal or bulky goes into a separate body, tied in
by a salted hash, so that a body can be deleted at the end of its retention while every proof still holds.
Header and body never hold encodings, link ids, record ids or anything about a data subject.
"""

import hashlib
import json
import re
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, get_args

import rfc8785

from linkage_ledger.errors import EventError

VERSION = 1
SALT_BYTES = 32

ActorKind = Literal["client", "person", "system", "unknown"]
Effect = Literal["allow", "deny"]
OutcomeStatus = Literal["success", "refused", "failed"]

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", re.ASCII)
_DOTTED_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", re.ASCII)
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
# A policy that stands for an element of the agreement says so in its name: G5-key-rotation is of element 5.
_GUARD = re.compile(r"G([1-9])-", re.ASCII)
_ELEMENT_OF_GRANTS = "2"
_MAX_TEXT = 1024
_MAX_ITEMS = 256
MAX_HEADER_BYTES = 65_536
# The largest integer that every JSON reader holds exactly (RFC 8785 section 3.2.2.3).
_MAX_INTEGER = 2**53 - 1
_MAX_DEPTH = 32
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted: a client id or a person's id, never a name; ``unknown`` when nobody was authenticated."""

    kind: ActorKind
    id: str | None = None
    org: str | None = None


@dataclass(frozen=True, slots=True)
class Authn:
    """How the actor was recognised: by a key, in a session, or neither when a system acts on its own."""

    method: str
    key_thumbprint: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class AgreementRef:
    """On whose authority: one immutable version of an agreement, by its digest."""

    ref: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Resource:
    """What was acted on. A refused creation has a type and no id."""

    type: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy said, and the digests of the exact policy text and facts that it judged."""

    effect: Effect
    policies: tuple[str, ...]
    policy_digest: str
    entities_digest: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended, with the stable code that the caller was given."""

    status: OutcomeStatus
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One event. Optional members that are None are absent from the bytes. Raises EventError on unfit values."""

    id: str
    """UUIDv7, lower case with hyphens."""
    time: str
    """RFC 3339 in UTC with six decimals and Z, as format_time writes it."""
    type: str
    """From the service's closed catalogue, such as ``upload.completed``."""
    actor: Actor
    resource: Resource
    action: str
    outcome: Outcome
    request_id: str
    source: str
    """The device or process the request came from."""
    authn: Authn | None = None
    agreement: AgreementRef | None = None
    project: str | None = None
    purpose: str | None = None
    decision: Decision | None = None
    counts: Mapping[str, int] | None = None
    body_hash: str | None = None
    """Hex of body_hash(salt, body)."""
    v: int = VERSION

    def __post_init__(self) -> None:
        _check_header(self)


def canonical(value: object) -> bytes:
    """The RFC 8785 bytes of objects, lists, strings, integers, booleans and null; EventError for anything else.

    Floats are refused: two languages may print one differently, and a ledger counts, it does not measure.
    """
    _check_json(value, depth=0)
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # _check_json just made sure of what it is
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise EventError("A text is not valid Unicode, so it has no canonical form. Correct the text.") from None


def encode(header: Header) -> bytes:
    """The bytes of the leaf. Hash them with merkle.leaf_hash."""
    try:
        encoded = _spelled(_members(header))
    except UnicodeEncodeError:
        raise EventError("A text is not valid Unicode, so it has no canonical form. Correct the text.") from None
    if len(encoded) > MAX_HEADER_BYTES:
        raise EventError(f"A header may take {MAX_HEADER_BYTES} bytes at most. Put detail into the body.")
    return encoded


def parse(encoded: bytes) -> Header:
    """Read a leaf, refusing every spelling but the canonical one and every member that is not known."""
    if len(encoded) > MAX_HEADER_BYTES:
        raise EventError("The leaf is larger than any header. It was not written by this product.")
    try:
        members = json.loads(encoded.decode("utf-8"), parse_float=_refuse_number, parse_constant=_refuse_number)
    except (ValueError, RecursionError):
        raise EventError(
            "The leaf is not the JSON of a header. It was damaged, or written by another product."
        ) from None
    header = _header(members)
    if _respelled(members) != encoded:
        raise EventError("The leaf is not in canonical form. It was rewritten after it was recorded.")
    return header


def indexed(header: Header) -> dict[str, str | None]:
    """The members that a store copies beside the header bytes, to search by.

    The service writes them and the verifier compares them with this one function, so the two cannot disagree.
    """
    return {
        "id": header.id,
        "time": header.time,
        "type": header.type,
        "actor_kind": header.actor.kind,
        "actor_id": header.actor.id,
        "actor_org": header.actor.org,
        "agreement": header.agreement.ref if header.agreement else None,
        "agreement_version": str(header.agreement.version) if header.agreement else None,
        "project": header.project,
        "resource_type": header.resource.type,
        "resource_id": header.resource.id,
        "action": header.action,
        "purpose": header.purpose,
        "effect": header.decision.effect if header.decision else None,
        "elements": deciding_elements(header.decision),
        "outcome": header.outcome.status,
        "request_id": header.request_id,
    }


def deciding_elements(decision: Decision | None) -> str | None:
    """The elements of the agreement (1 to 9) that refused, as their digits in order: ``"25"`` for elements 2 and 5.

    A refusal by no policy at all is a missing grant, which is of element 2. None where nothing was refused, and where
    the policy could not be evaluated.
    """
    if decision is None or decision.effect == "allow":
        return None
    return refusing_elements(decision.policies)


def refusing_elements(policies: Sequence[str]) -> str | None:
    """The same, for the policies of a decision that is known to be a refusal."""
    if not policies:
        return _ELEMENT_OF_GRANTS
    found = {match[1] for policy in policies if (match := _GUARD.match(policy))}
    return "".join(sorted(found)) or None


def new_salt() -> bytes:
    """A salt for one body. Deleted with the body, so that nobody can test guesses of it against the hash."""
    return secrets.token_bytes(SALT_BYTES)


def body_hash(salt: bytes, body: Mapping[str, object]) -> bytes:
    """``SHA-256(0x00 || salt || JCS(body))``: what a header holds (in hex) of its body."""
    return body_bytes_hash(salt, canonical(body))


def body_bytes_hash(salt: bytes, encoded: bytes) -> bytes:
    """The same, for a body that is in canonical form already."""
    if len(salt) != SALT_BYTES:
        raise EventError(f"A body's salt is {SALT_BYTES} bytes long. Draw it with new_salt.")
    return hashlib.sha256(b"\x00" + salt + encoded).digest()


def format_time(at: datetime) -> str:
    """A moment as headers spell it: RFC 3339, UTC, microseconds, Z."""
    if at.utcoffset() is None:
        raise EventError("A moment without a time zone could be any of many. Pass an aware datetime.")
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id(at: datetime) -> str:
    """A UUIDv7 (RFC 9562 section 5.7) for an event at this moment."""
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    version_and_random = 0x7 << 76 | secrets.randbits(12) << 64
    variant_and_random = 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=(milliseconds & (1 << 48) - 1) << 80 | version_and_random | variant_and_random))


def _respelled(members: dict[str, Any]) -> bytes:
    """The RFC 8785 bytes of what has just passed for a header."""
    try:
        return _spelled(members)
    except UnicodeEncodeError:
        raise EventError("A text of the leaf is not valid Unicode. It was not written by this product.") from None


def _spelled(members: dict[str, Any]) -> bytes:
    """The RFC 8785 bytes of the members of a header that was checked.

    A header's names are ASCII and its numbers whole, and there the standard library writes what RFC 8785 asks. It does
    so in a seventh of the time, which is most of the time that the check of a long log takes.
    """
    return _ENCODER.encode(members).encode()


def _members(header: Header) -> dict[str, object]:
    actor, authn, agreement, decision = header.actor, header.authn, header.agreement, header.decision
    return _present(
        v=header.v,
        id=header.id,
        time=header.time,
        type=header.type,
        actor=_present(kind=actor.kind, id=actor.id, org=actor.org),
        authn=authn and _present(method=authn.method, key_thumbprint=authn.key_thumbprint, session=authn.session),
        agreement=agreement and _present(ref=agreement.ref, version=agreement.version, digest=agreement.digest),
        project=header.project,
        resource=_present(type=header.resource.type, id=header.resource.id),
        action=header.action,
        purpose=header.purpose,
        decision=decision
        and _present(
            effect=decision.effect,
            policies=list(decision.policies),
            policy_digest=decision.policy_digest,
            entities_digest=decision.entities_digest,
        ),
        outcome=_present(status=header.outcome.status, code=header.outcome.code),
        counts=None if header.counts is None else dict(header.counts),
        request_id=header.request_id,
        source=header.source,
        body_hash=header.body_hash,
    )


def _present(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


def _header(members: object) -> Header:
    try:
        given = dict(_object(members))
        return Header(
            v=given.pop("v"),
            actor=Actor(**_object(given.pop("actor"))),
            resource=Resource(**_object(given.pop("resource"))),
            outcome=Outcome(**_object(given.pop("outcome"))),
            authn=Authn(**_object(given.pop("authn"))) if "authn" in given else None,
            agreement=AgreementRef(**_object(given.pop("agreement"))) if "agreement" in given else None,
            decision=_decision(_object(given.pop("decision"))) if "decision" in given else None,
            counts=_object(given.pop("counts")) if "counts" in given else None,
            **given,
        )
    except (KeyError, TypeError):
        raise EventError("The leaf lacks a member of a header, or has one too many. It was not written so.") from None


def _decision(members: dict[str, Any]) -> Decision:
    given = dict(members)
    policies = given.pop("policies")
    if not isinstance(policies, list):
        raise EventError("A decision's policies are a list. The leaf was not written by this product.")
    return Decision(policies=tuple(policies), **given)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EventError("A member of the leaf should be an object and is not. It was not written by this product.")
    if None in value.values():
        raise EventError("A member of the leaf is null; headers leave such members out. It was not written so.")
    return value


def _check_header(header: Header) -> None:
    if type(header.v) is not int or header.v != VERSION:
        raise EventError(f"Only version {VERSION} of the header is known here. Use a newer release to read others.")
    _check_pattern("id", header.id, _UUID7)
    _check_time(header.time)
    _check_pattern("type", header.type, _DOTTED_NAME)
    _check_choice("actor.kind", header.actor.kind, get_args(ActorKind))
    _check_choice("outcome.status", header.outcome.status, get_args(OutcomeStatus))
    _check_texts(header)
    if header.authn:
        _check_authn(header.authn)
    if header.agreement:
        _check_integer("agreement.version", header.agreement.version)
    if header.decision:
        _check_decision(header.decision)
    if header.counts is not None:
        _check_counts(header.counts)
    if header.body_hash is not None:
        _check_pattern("body_hash", header.body_hash, _SHA256_HEX)


def _check_texts(header: Header) -> None:
    _check_text("action", header.action)
    _check_text("request_id", header.request_id)
    _check_text("source", header.source)
    _check_text("resource.type", header.resource.type)
    _check_text("outcome.code", header.outcome.code)
    _check_optional_text("resource.id", header.resource.id)
    _check_optional_text("actor.id", header.actor.id)
    _check_optional_text("actor.org", header.actor.org)
    _check_optional_text("project", header.project)
    _check_optional_text("purpose", header.purpose)
    if header.agreement:
        _check_text("agreement.ref", header.agreement.ref)
        _check_text("agreement.digest", header.agreement.digest)


def _check_authn(authn: Authn) -> None:
    _check_text("authn.method", authn.method)
    _check_optional_text("authn.key_thumbprint", authn.key_thumbprint)
    _check_optional_text("authn.session", authn.session)
    if authn.key_thumbprint is not None and authn.session is not None:
        raise EventError("An actor is recognised by a key or in a session, not both. Name the one that was used.")


def _check_decision(decision: Decision) -> None:
    _check_choice("decision.effect", decision.effect, get_args(Effect))
    _check_text("decision.policy_digest", decision.policy_digest)
    _check_text("decision.entities_digest", decision.entities_digest)
    if len(decision.policies) > _MAX_ITEMS:
        raise EventError(f"A decision names at most {_MAX_ITEMS} policies. Name those that decided.")
    for policy in decision.policies:
        _check_text("decision.policies", policy)


def _check_counts(counts: Mapping[str, int]) -> None:
    if len(counts) > _MAX_ITEMS:
        raise EventError(f"A header holds at most {_MAX_ITEMS} counts. Put the rest into the body.")
    for name, count in counts.items():
        _check_pattern("counts", name, _DOTTED_NAME)
        _check_integer("counts", count)


def _check_time(value: object) -> None:
    _check_pattern("time", value, _TIME)
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise EventError("The header's time is no day of the calendar. Make it with format_time.") from None


def _check_pattern(name: str, value: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value) or len(value) > _MAX_TEXT:
        raise EventError(f"The header's {name} is not spelled as this product spells it. See linkage_ledger.events.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise EventError(f"The header's {name} must be one of: {', '.join(choices)}.")


def _check_optional_text(name: str, value: object) -> None:
    if value is not None:
        _check_text(name, value)


def _check_text(name: str, value: object) -> None:
    # Control characters would let a header forge lines in exports; PostgreSQL cannot store NUL in the copies.
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or _has_control(value):
        raise EventError(
            f"The header's {name} must be a text of 1 to {_MAX_TEXT} characters without control characters."
        )


def _has_control(value: str) -> bool:
    # isprintable is the fast way to say no: it is true of almost every value, and false of all control characters.
    return not value.isprintable() and any(character < " " or character == "\x7f" for character in value)


def _check_integer(name: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise EventError(f"The header's {name} must be a whole number from 0 to 2^53 - 1.")


def _check_json(value: object, *, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise EventError(f"The value is nested deeper than {_MAX_DEPTH} levels. Flatten it.")
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise EventError("A whole number lies beyond 2^53 - 1, where JSON readers disagree. Write it as a text.")
    elif isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise EventError("The names in a JSON object must be texts.")
        for member in value.values():
            _check_json(member, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_json(item, depth=depth + 1)
    else:
        raise EventError(
            "The ledger holds objects, lists, texts, whole numbers, true, false and null only; floats and other types "
            "have no single spelling. Write the value as a text or a whole number."
        )


def _refuse_number(_: str) -> NoReturn:
    raise EventError("The leaf holds a number that is not whole. It was not written by this product.")
