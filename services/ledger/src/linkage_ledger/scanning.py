"""Reads from a leaf what the check of a log compares, several times as fast as ``events.parse``, and as strictly.

A log has millions of leaves, and nearly all are spelled plainly: no escapes in their texts, no more than a few counts.
One regular expression is the whole grammar of those, in canonical order, so that what it matches needs no second
spelling to compare with. What it does not match goes to ``events.parse``, which has the last word, and it takes nothing
that ``parse`` would refuse.
"""

import re
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from linkage_ledger import events

# 256 policies or counts are allowed; who has more than these is left to the slow way, which counts them.
_FEW = 100

# Backslashes and control characters are ruled out before: a class that excludes one character is matched faster.
_TEXT = r'[^"]{1,1024}'
_NAME = r"[a-z][a-z0-9_]{0,63}(?:\.[a-z][a-z0-9_]{0,63}){0,7}"
_NUMBER = r"(?:0|[1-9][0-9]{0,14})"
_HASH = r"[0-9a-f]{64}"
_UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"

_LEAF = re.compile(
    rf'{{"action":"(?P<action>{_TEXT})",'
    rf'"actor":{{(?:"id":"(?P<actor_id>{_TEXT})",)?"kind":"(?P<actor_kind>client|person|system|unknown)"'
    rf'(?:,"org":"(?P<actor_org>{_TEXT})")?}},'
    rf'(?:"agreement":{{"digest":"(?P<agreement_digest>{_TEXT})","ref":"(?P<agreement>{_TEXT})",'
    rf'"version":(?P<agreement_version>{_NUMBER})}},)?'
    rf'(?:"authn":{{(?:"key_thumbprint":"{_TEXT}","method":"{_TEXT}"|"method":"{_TEXT}"(?:,"session":"{_TEXT}")?)}},)?'
    rf'(?:"body_hash":"(?P<body_hash>{_HASH})",)?'
    rf'(?:"counts":{{(?P<counts>(?:"{_NAME}":{_NUMBER}(?:,"{_NAME}":{_NUMBER})*)?)}},)?'
    rf'(?:"decision":{{"effect":"(?P<effect>allow|deny)","entities_digest":"{_TEXT}",'
    rf'"policies":\[(?P<policies>(?:"{_TEXT}"(?:,"{_TEXT}")*)?)\],"policy_digest":"(?P<policy_digest>{_TEXT})"}},)?'
    rf'"id":"(?P<id>{_UUID7})",'
    rf'"outcome":{{"code":"{_TEXT}","status":"(?P<outcome>success|refused|failed)"}},'
    rf'(?:"project":"(?P<project>{_TEXT})",)?'
    rf'(?:"purpose":"(?P<purpose>{_TEXT})",)?'
    rf'"request_id":"(?P<request_id>{_TEXT})",'
    rf'"resource":{{(?:"id":"(?P<resource_id>{_TEXT})",)?"type":"(?P<resource_type>{_TEXT})"}},'
    rf'"source":"{_TEXT}",'
    rf'"time":"(?P<time>{_TIME})",'
    rf'"type":"(?P<type>{_NAME})",'
    r'"v":1}'
)
# Control characters, and the backslash of an escape. UTF-8 has these bytes for nothing else.
_NOT_PLAIN = bytes([*range(0x20), 0x7F, ord("\\")])


class Scanned(NamedTuple):
    """What a check needs of a leaf."""

    copies: dict[str, str | None]
    """As ``events.indexed`` gives it."""
    body_hash: str | None
    agreement_digest: str | None
    policy_digest: str | None


def scan(encoded: bytes) -> Scanned:
    """Read a leaf. Raises EventError exactly where ``events.parse`` does."""
    plain = _scan_plain(encoded)
    if plain is not None:
        return plain
    header = events.parse(encoded)
    return Scanned(
        copies=events.indexed(header),
        body_hash=header.body_hash,
        agreement_digest=header.agreement.digest if header.agreement else None,
        policy_digest=header.decision.policy_digest if header.decision else None,
    )


def _scan_plain(encoded: bytes) -> Scanned | None:
    """Read a leaf that is spelled plainly; None for any other, which need not be wrong."""
    if len(encoded) > events.MAX_HEADER_BYTES or len(encoded.translate(None, _NOT_PLAIN)) != len(encoded):
        return None
    try:
        fields = _LEAF.fullmatch(encoded.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    if fields is None:
        return None
    # In the order of the groups, and spelled out: a dictionary of known names is made in a fraction of the time.
    (
        action, actor_id, actor_kind, actor_org, agreement_digest, agreement, agreement_version, body_hash, counts,
        effect, policies, policy_digest, id_, outcome, project, purpose, request_id, resource_id, resource_type,
        time, type_,
    ) = fields.groups()  # fmt: skip
    if not _is_day(time) or (counts and not _are_in_order(counts)) or (policies and policies.count('","') >= _FEW):
        return None
    refused = policies is not None and effect == "deny"
    copies = {
        "id": id_,
        "time": time,
        "type": type_,
        "actor_kind": actor_kind,
        "actor_id": actor_id,
        "actor_org": actor_org,
        "agreement": agreement,
        "agreement_version": agreement_version,
        "project": project,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "action": action,
        "purpose": purpose,
        "effect": effect,
        "elements": events.refusing_elements(policies[1:-1].split('","') if policies else []) if refused else None,
        "outcome": outcome,
        "request_id": request_id,
    }
    return Scanned(copies, body_hash, agreement_digest, policy_digest)


def _is_day(time: str) -> bool:
    try:
        datetime.fromisoformat(time)
    except ValueError:
        return False
    return True


def _are_in_order(counts: str) -> bool:
    """Whether the names of counts, which hold neither quotes nor commas, are in canonical order and each there once."""
    if "," not in counts:
        return True
    names = [count[1 : count.index('":')] for count in counts.split(",")]
    return len(names) <= _FEW and all(earlier < later for earlier, later in pairwise(names))
