"""The words of the pages: times, events, outcomes and refusals as people say them.

`words.json` is what the service prints with `python -m linkage_service.pages`; a test compares them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

from linkage_client.agreements.words import TITLES

Json = Mapping[str, Any]
OUTCOMES: Final = {"success": "done", "refused": "refused", "failed": "failed"}
STATES: Final = {
    "draft": "draft", "proposed": "awaiting signatures", "active": "in force", "suspended": "suspended",
    "expired": "expired", "terminated": "ended", "superseded": "replaced", "withdrawn": "withdrawn",
    "invited": "invited", "disabled": "disabled", "revoked": "removed",
    "success": "done", "refused": "refused", "failed": "failed",
    "queued": "waits its turn", "running": "matching", "succeeded": "has a result", "cancelled": "cancelled",
    "held": "on hold",
}  # fmt: skip
COLOURS: Final = {
    "draft": "grey", "proposed": "yellow", "active": "green", "suspended": "red", "expired": "grey",
    "terminated": "grey", "superseded": "grey", "withdrawn": "grey", "invited": "yellow", "success": "green",
    "enabled": "green", "disabled": "red", "revoked": "grey",
    "refused": "red", "failed": "orange", "open": "green", "complete": "green", "receiving": "yellow",
    "queued": "yellow", "running": "blue", "succeeded": "green", "released": "green", "held": "red",
}  # fmt: skip
PHASES: Final = {
    "queued": "It waits for a worker.", "load": "Encodings are read.", "compile": "Comparison is made ready.",
    "match": "Records are compared.", "store": "The result is stored.", "done": "It has ended.",
    "clock": "It waits, since the service's clock is behind its log. It goes on by itself once that is set right.",
}  # fmt: skip
# Of Article 18(1), as a hold states it.
GROUNDS: Final = {
    "accuracy": "Accuracy is contested: Article 18(1)(a)",
    "unlawful": "Processing is unlawful, and the person wants no erasure: Article 18(1)(b)",
    "legal_claims": "The person needs it for legal claims: Article 18(1)(c)",
    "objection": "An objection is being examined: Article 18(1)(d)",
}
KINDS: Final = {"upload": "Upload", "run": "Result of a run", "release": "Link tables of a release"}
ROLES: Final = {"provider": "provides records", "recipient": "receives results", "processor": "works for another party"}
# What the service does by itself.
_UNASKED: Final = frozenset({"watch", "retention", "carryOutRun"})
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ELEMENT: Final = re.compile(r"G([1-9])-", re.ASCII)
_GRANTS: Final = 2


@cache
def _words() -> Mapping[str, Any]:
    text = files("linkage_console").joinpath("words.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def moment(text: str | None) -> str:
    """A time of the API in words, in UTC: "3 March 2026 at 14:05 UTC"."""
    if not text:
        return "never"
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at.day} {at:%B %Y} at {at:%H:%M} UTC"


def short_moment(text: str) -> str:
    """A time for a table, in UTC: "3 Mar 2026, 14:05:09"."""
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at.day} {at:%b %Y}, {at:%H:%M:%S}"


def day(text: str) -> str:
    """The day of a time of the API, in UTC."""
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at.day} {at:%B %Y}"


def date_words(when: date) -> str:
    """A day: "3 March 2026"."""
    return f"{when.day} {when:%B %Y}"


def event_title(event_type: str) -> str:
    """A type of event as a heading: "Link table retrieved"."""
    return event_type.replace(".", " ").replace("_", " ").capitalize()


def headline(header: Json) -> str:
    """An event as a heading: what was done, or what was asked for and did not happen."""
    if header["outcome"]["status"] == "success" or header["action"] in _UNASKED:
        return event_title(header["type"])
    return action_title(header["action"]).capitalize()


def event_meaning(event_type: str) -> str:
    """When events of a type are written."""
    return str(_words()["events"].get(event_type, "This console is older than the service and does not know it."))


def event_types() -> list[str]:
    """Every type that this release knows."""
    return sorted(_words()["events"])


def actions() -> list[str]:
    """Every action that this release knows."""
    return sorted(_words()["actions"])


def action_title(action: str) -> str:
    """An action of the policy as people say it: "retrieve link table"."""
    return _WORD.sub(" ", action).lower()


def alarm_title(kind: str) -> str:
    """A kind of alarm as a heading."""
    return kind.replace("_", " ").capitalize()


def element_title(number: int) -> str:
    """An element of an agreement: "6 Retention of shared data"."""
    return f"{number} {TITLES[number - 1]}"


def elements() -> list[tuple[int, str]]:
    """The nine elements, for a list to choose from."""
    return [(number, element_title(number)) for number in range(1, len(TITLES) + 1)]


def pairs(names: Iterable[str], words: str = "") -> list[tuple[str, str]]:
    """Names with how people say them, by one of the filters, for a list to choose from."""
    return [(name, FILTERS[words](name) if words else name) for name in names]


def deciding(header: Json) -> list[dict[str, Any]]:
    """What refused an event, policy by policy: `element` (1 to 9, or None), `policy`, `reason` and `remedy`."""
    decision = header.get("decision") or {}
    if decision.get("effect") != "deny":
        return []
    return list(_deciding(header, decision.get("policies") or []))


def reasons(policies: list[str]) -> list[dict[str, Any]]:
    """What policies say that refused something, as far as this release knows them."""
    return deciding({"decision": {"effect": "deny", "policies": policies}}) if policies else []


def _deciding(header: Json, policies: list[str]) -> Iterator[dict[str, Any]]:
    guards = [policy for policy in policies if policy in _words()["policies"]]
    for policy in guards:
        note = _words()["policies"][policy]
        yield {"policy": policy, "element": _element_of(policy), "reason": note["reason"], "remedy": note["remedy"]}
    if not policies:
        needs = _words()["actions"].get(header.get("action", ""), "")
        yield {
            "policy": "no grant",
            "element": _GRANTS,
            "reason": f"Nothing grants this to the caller; it needs {needs or 'another role'}.",
            "remedy": "Somebody who has that part does it.",
        }
    for policy in policies:
        if policy not in guards:
            yield {"policy": policy, "element": _element_of(policy), "reason": "", "remedy": ""}


def _element_of(policy: str) -> int | None:
    found = _ELEMENT.match(policy)
    return int(found[1]) if found else None


def explain(header: Json) -> str:
    """An event's outcome in a sentence."""
    outcome = header.get("outcome") or {}
    if outcome.get("status") == "success":
        return event_meaning(str(header.get("type", "")))
    reasons = deciding(header)
    if reasons:
        first, *others = reasons
        place = f"Element {first['element']}: " if first["element"] else ""
        more = f" And {len(others)} more." if others else ""
        return f"{place}{first['reason'] or first['policy']}{more}"
    code = str(outcome.get("code", "unknown")).replace("_", " ")
    return f"{'The service failed' if outcome.get('status') == 'failed' else 'Refused'}: {code}."


def grouped(digest: str) -> str:
    """A digest in groups of eight, which two people can compare over the telephone."""
    return " ".join(digest[place : place + 8] for place in range(0, len(digest), 8))


def state(name: str) -> str:
    """A state as people say it."""
    return STATES.get(name, name.replace("_", " "))


def colour(name: str) -> str:
    """The colour of a state's tag, whose text says the same."""
    return COLOURS.get(name, "grey")


def ground(name: str) -> str:
    """A ground of a hold in words."""
    return GROUNDS.get(name, name.replace("_", " "))


def phase(name: str) -> str:
    """How far a run is, in a sentence."""
    return PHASES.get(name, "")


def kind(name: str) -> str:
    """A kind of thing that is kept."""
    return KINDS.get(name, name)


def aim(run: Json) -> str:
    """What a run aims at."""
    wanted = run["aim"]
    value = wanted["value"]
    if wanted["kind"] == "target_precision":
        return f"at least {share(value)} of the links right"
    if wanted["kind"] == "threshold":
        return f"pairs of a similarity of {value:g} and more"
    return "the best balance of links that are right and matches that are found"


def share(value: float | None) -> str:
    """A share of one as people say it; left out, that it is."""
    return "not told" if value is None else f"{value:.1%}"


def told(count: int | None) -> str:
    """A count that may have been left out."""
    return "not told" if count is None else number(count)


def days(count: int) -> str:
    """A number of days."""
    return f"{count:,} day" if count == 1 else f"{count:,} days"


def number(count: int) -> str:
    """A count with its thousands apart."""
    return f"{count:,}"


def roles(names: list[str]) -> str:
    """What a party does."""
    return ", ".join(ROLES.get(name, name) for name in names)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "moment": moment,
    "short_moment": short_moment,
    "day": day,
    "date": date_words,
    "headline": headline,
    "event_title": event_title,
    "event_meaning": event_meaning,
    "action_title": action_title,
    "alarm_title": alarm_title,
    "element_title": element_title,
    "deciding": deciding,
    "reasons": reasons,
    "explain": explain,
    "grouped": grouped,
    "state": state,
    "colour": colour,
    "number": number,
    "roles": roles,
    "ground": ground,
    "phase": phase,
    "kind": kind,
    "aim": aim,
    "share": share,
    "told": told,
    "days": days,
}
