"""The one function that decides, and the words in which it explains a refusal.

Cedar skips a `forbid` whose evaluation fails, so a request could be allowed by an error: a decision counts as "allow"
only without errors, entities and requests are checked against the schema, and policies that do not validate stop the
service at start. A decision looks at one agreement's entities only, so many agreements cost no more than one.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from importlib import resources
from threading import Lock
from typing import Any, Protocol

import cedarpy

from linkage_ledger import events
from linkage_service.access.actions import Action
from linkage_service.access.callers import Actor
from linkage_service.access.entities import Attribute, Entity, Reference, object_text, shape_of, text_of
from linkage_service.access.settled import Settled, goes_by_days
from linkage_service.errors import RefusedElement

_NO_GRANT = "no-grant"
EVALUATION = "policy-error"
# Two machines of one service may differ by so much before either counts as wrong.
CLOCK_TOLERANCE = timedelta(seconds=60)
_KEPT = 4096
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class AgreementReference:
    """The agreement version under which a decision is made, as the ledger names it."""

    reference: str
    version: int
    digest: str


class Circumstances(Protocol):
    """From where and when an organisation may act under an agreement."""

    def allow_network(self, source: str) -> bool:
        """Whether an address lies within the networks."""

    def allow_moment(self, moment: datetime) -> bool:
        """Whether a moment lies within the hours."""


@dataclass(frozen=True, slots=True)
class Governing:
    """The agreement version that governs a resource.

    Attributes:
        agreement: how the ledger names it.
        entity: the version as the policy sees it.
        circumstances: gives those of an organisation.
    """

    agreement: AgreementReference
    entity: Entity
    circumstances: Callable[[str], Circumstances]


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on.

    Attributes:
        kind: noun in the ledger (`project`, `upload`, …).
        entity: the resource as the policy sees it.
        related: entities whose attributes the policy reads through the resource.
        visible_to: organisations that may know that it exists; None for everyone signed in.
        under: the governing agreement version.
        project: the project it belongs to.
    """

    kind: str
    entity: Entity
    related: tuple[Entity, ...] = ()
    visible_to: frozenset[str] | None = None
    under: Governing | None = None
    project: str | None = None

    @property
    def id(self) -> str:
        """The id of the thing itself."""
        return self.entity.reference.id

    @property
    def agreement(self) -> AgreementReference | None:
        """The governing agreement version, as the ledger names it."""
        return self.under.agreement if self.under else None


SERVICE = Resource(kind="service", entity=Entity(Reference("Service", "linkage"), {}))
LEDGER = Resource(kind="audit", entity=Entity(Reference("Ledger", "ledger"), {}))


@dataclass(frozen=True, slots=True)
class Circumstance:
    """When and from where a request comes.

    Attributes:
        now: the service's time.
        newest: time of the newest event of the log, which `now` cannot be before.
        source: the caller's address, as far as it is known.
    """

    now: datetime
    newest: datetime | None
    source: str

    def clock(self) -> tuple[str, bool]:
        """The clock as the policy sees it, in canonical form, and whether by that it is behind the log."""
        now = text_of(self.now)
        earliest = now if self.newest is None else text_of(self.newest - CLOCK_TOLERANCE)
        # They are spelled alike, so their order is that of the moments.
        return f'{{"earliest":{earliest},"now":{now}}}', now < earliest


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why, as the ledger records it.

    Attributes:
        allowed: the answer.
        policies: ids of every policy that fired, sorted; with `EVALUATION` where one could not be evaluated.
        refusals: for a refusal, the elements that refused, in the policy's words.
        policy_digest: SHA-256 of the policy text and schema.
        entities_digest: SHA-256 of `facts`.
        facts: canonical JSON of the request and the entities, so that the decision can be made again and compared.
    """

    allowed: bool
    policies: tuple[str, ...]
    refusals: tuple[RefusedElement, ...]
    policy_digest: str
    entities_digest: str
    facts: bytes = field(repr=False)

    @property
    def for_ledger(self) -> events.Decision:
        """The decision in the header of an event."""
        effect: events.Effect = "allow" if self.allowed else "deny"
        return events.Decision(effect, self.policies, self.policy_digest, self.entities_digest)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluation gave.

    Attributes:
        allowed: a permit fired, no forbid fired, and nothing failed to evaluate.
        policies: ids of every policy that fired, sorted; with `EVALUATION` where one could not be evaluated.
    """

    allowed: bool
    policies: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether something could not be evaluated."""
        return EVALUATION in self.policies


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy text with its schema, named by the digest of both."""

    policies: str
    schema: str

    @property
    def digest(self) -> str:
        """SHA-256 of text and schema, hex."""
        return hashlib.sha256(self.policies.encode() + b"\0" + self.schema.encode()).hexdigest()

    @classmethod
    def of_this_release(cls) -> "PolicyText":
        """The text that this release decides by."""
        folder = resources.files("linkage_service.access")
        policies, schema = (
            (folder / name).read_text(encoding="utf-8") for name in ("policy.cedar", "policy.cedarschema")
        )
        return cls(policies, schema)


class _Parsed:
    """A policy text as the engine has read it, with the slices of it that were asked for."""

    def __init__(self, text: PolicyText) -> None:
        validation = cedarpy.validate_policies(text.policies, text.schema)
        if not validation.validation_passed:
            raise ValueError(f"the access policy does not validate: {[str(error) for error in validation.errors]}")
        self._statics = json.loads(cedarpy.policies_to_json_str(text.policies))["staticPolicies"]
        self._slices: dict[tuple[Action, str], cedarpy.PolicySet] = {}
        self.policies = cedarpy.PolicySet.from_str(text.policies)
        self.schema = cedarpy.Schema.from_str(text.schema)
        self.goes_by_days = goes_by_days(text.policies)
        self.annotations: Mapping[str, Mapping[str, str]] = {
            policy["annotations"]["id"]: policy["annotations"] for policy in self._statics.values()
        }

    def about(self, action: Action, principal: str) -> cedarpy.PolicySet:
        """The policies that can fire for an action of a type of principal."""
        found = self._slices.get((action, principal))
        if found is None:
            found = self._slices[action, principal] = _policies_about(action, principal, self._statics)
        return found


@lru_cache(maxsize=4)  # that of this release, and those that decisions are made again by
def _parse(text: PolicyText) -> _Parsed:
    return _Parsed(text)


class Policy:
    """A validated policy text.

    Raises:
        ValueError: the policies do not validate against the schema; the service must not start.
    """

    def __init__(self, text: PolicyText | None = None) -> None:
        self.text = text or PolicyText.of_this_release()
        self.digest = self.text.digest
        self._parsed = _parse(self.text)
        self.annotations = self._parsed.annotations
        self._slices = _Slices(self._parsed.schema)
        self._fitting: set[Hashable] = set()
        self._settled: Settled[Verdict] | None = Settled() if self._parsed.goes_by_days else None

    def decide(
        self,
        *,
        action: Action,
        caller: Actor,
        resource: Resource,
        at: Circumstance,
        context: Mapping[str, Attribute],
    ) -> Decision:
        """Decides one request: deny unless a permit fired, no forbid fired and nothing failed to evaluate."""
        under, texts = resource.under, self._slices
        known = {entity.reference: texts.text_of(entity) for entity in (*resource.related, resource.entity)}
        known.update(texts.of_caller(caller))
        members = {name: text_of(value) for name, value in context.items()}
        if under:
            known[under.entity.reference] = texts.text_of(under.entity)
            members["under"] = _under(under, caller, at)
        entities, timeless = "[" + ",".join(known.values()) + "]", object_text(members)
        clock, behind = at.clock()
        stated = object_text({"clock": clock, **members})
        principal, acted, acted_on = caller.reference, Reference("Action", action.value), resource.entity.reference
        # Put together of what was spelled already: the whole is canonical because its parts are, and are in order.
        facts = (
            f'{{"entities":{entities},"request":{{"action":{acted.text},"context":{stated},'
            f'"principal":{principal.text},"resource":{acted_on.text}}}}}'
        ).encode()
        judged = (action, principal, acted_on, entities, timeless, behind)
        verdict = self._settled.find(judged, at.now) if self._settled else None
        if verdict is None:
            request = {
                "principal": principal.to_json(),
                "action": acted.to_json(),
                "resource": acted_on.to_json(),
                "context": stated,
            }
            # The schema speaks of types only, so a request of a shape that fitted once need not be held against it
            # again. The clock always has the same shape, and so has what governs.
            shapes = frozenset([(name, shape_of(value)) for name, value in context.items()])
            shape = (action, principal.type, acted_on.type, under and under.entity.reference.type, shapes)
            schema = None if shape in self._fitting else self._parsed.schema
            policies = self._parsed.about(action, principal.type)
            verdict = self._evaluate(request, texts.entities_of(entities), policies, schema)
            if not verdict.failed:
                self._fitting.add(shape)
                if self._settled:
                    self._settled.keep(judged, verdict, since=at.now, facts=entities + timeless)
        return Decision(
            allowed=verdict.allowed,
            policies=verdict.policies,
            refusals=() if verdict.allowed else self._explain(action, verdict),
            policy_digest=self.digest,
            entities_digest=hashlib.sha256(facts).hexdigest(),
            facts=facts,
        )

    def replay(self, facts: bytes) -> Verdict:
        """Decides a recorded request again, by the whole of this text.

        Args:
            facts: `Decision.facts` as recorded.
        """
        recorded = json.loads(facts)
        entities = self._slices.entities_of(canonical_text(recorded["entities"]))
        return self._evaluate(recorded["request"], entities, self._parsed.policies, self._parsed.schema)

    def _evaluate(
        self,
        request: dict[str, Any],
        entities: cedarpy.Entities | None,
        policies: cedarpy.PolicySet,
        schema: cedarpy.Schema | None,
    ) -> Verdict:
        if entities is None:
            return Verdict(allowed=False, policies=(EVALUATION,))
        result = cedarpy.is_authorized(request, policies, entities, schema)
        decision, notes = result.decision, result.diagnostics
        failed = bool(notes.errors) or decision is cedarpy.Decision.NoDecision
        allowed = decision is cedarpy.Decision.Allow and not failed
        fired = {*notes.id_annotations_by_reason.values(), *([EVALUATION] if failed else ())}
        return Verdict(allowed=allowed, policies=tuple(sorted(fired)))

    def _explain(self, action: Action, verdict: Verdict) -> tuple[RefusedElement, ...]:
        refusals = [
            RefusedElement(element=note["element"], policy=policy, reason=note["reason"], remedy=note["remedy"])
            for policy in verdict.policies
            if "reason" in (note := self.annotations.get(policy, {}))
        ]
        if verdict.failed or (not refusals and verdict.policies):
            return (
                *refusals,
                RefusedElement(
                    element="none",
                    policy=EVALUATION,
                    reason="The policy could not be evaluated, so the request is refused.",
                    remedy="The operator must look into it.",
                ),
            )
        if not refusals:
            return (
                RefusedElement(
                    element="2 Recipients and circumstances of access",
                    policy=_NO_GRANT,
                    reason=f"Nothing grants this to the caller; it needs {action.needs}.",
                    remedy="Use a client, or sign in as a person, that has this part.",
                ),
            )
        return tuple(refusals)


class _Slices:
    """What was decided on lately, read by the engine once: exactly the same entities need not be read again.

    Kept by what they say and not by what they are called, so nothing old is ever judged.
    """

    def __init__(self, schema: cedarpy.Schema) -> None:
        self._schema = schema
        self._texts: dict[Hashable, str] = {}
        self._callers: dict[Actor, Mapping[Reference, str]] = {}
        self._entities: OrderedDict[str, cedarpy.Entities] = OrderedDict()
        self._lock = Lock()

    def text_of(self, entity: Entity) -> str:
        """The canonical JSON of an entity."""
        if entity.key is None:
            return entity.text
        found = self._texts.get(entity.key)
        if found is None:
            found = entity.text
            self._keep(self._texts, entity.key, found)
        return found

    def of_caller(self, caller: Actor) -> Mapping[Reference, str]:
        """The canonical JSON of a principal, and of what the policy reads through it."""
        found = self._callers.get(caller)
        if found is None:
            found = {entity.reference: entity.text for entity in caller.entities()}
            self._keep(self._callers, caller, found)
        return found

    def entities_of(self, text: str) -> cedarpy.Entities | None:
        """The entities of a JSON list, checked against the schema; None if an attribute is missing or does not fit."""
        with self._lock:
            found = self._entities.get(text)
            if found is not None:
                self._entities.move_to_end(text)
                return found
        try:
            made = cedarpy.Entities.from_json_str(text, self._schema)
        except ValueError:
            return None
        self._keep(self._entities, text, made)
        return made

    def _keep(self, kept: dict[Any, Any], key: object, value: object) -> None:
        with self._lock:
            kept[key] = value
            if len(kept) > _KEPT:
                del kept[next(iter(kept))]


def _policies_about(action: Action, principal: str, parsed: Mapping[str, Any]) -> cedarpy.PolicySet:
    """All policies but those that name other actions only, or another type of principal.

    A policy that names a group of actions is always among them, so no knowledge of groups can be wrong here.
    """
    concrete = {member.value for member in Action}
    qualified = f"Linkage::{principal}"

    def is_about(policy: Mapping[str, Any]) -> bool:
        scope = policy["action"]
        named = {item["id"] for item in scope.get("entities", [scope["entity"]] if "entity" in scope else [])}
        of_action = not named or action.value in named or not named <= concrete
        return of_action and policy["principal"].get("entity_type", qualified) == qualified

    kept = {name: policy for name, policy in parsed.items() if is_about(policy)}
    return cedarpy.PolicySet.from_json_str(json.dumps({"staticPolicies": kept, "templates": {}, "templateLinks": []}))


def canonical_text(value: object) -> str:
    """What was judged, in the one spelling that its digest is taken of."""
    # Names are ASCII and numbers whole, and there the standard library writes what RFC 8785 asks, many times faster.
    return _ENCODER.encode(value)


def _under(under: Governing, caller: Actor, at: Circumstance) -> str:
    circumstances = under.circumstances(caller.organisation) if caller.organisation else None
    network = circumstances is None or circumstances.allow_network(at.source)
    hours = circumstances is None or circumstances.allow_moment(at.now)
    agreement = text_of(under.entity.reference)
    return f'{{"agreement":{agreement},"hours":{text_of(hours)},"network":{text_of(network)}}}'


def in_billionths(share: float) -> int:
    """A share in 0..1 as the policy compares it: Cedar has whole numbers, and decimals of four places only."""
    return round(share * 1_000_000_000)
