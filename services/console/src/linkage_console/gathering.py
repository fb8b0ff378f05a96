"""What several pages need of the API: names of organisations, and what the log says about an agreement."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from linkage_console.calling import Json
from linkage_console.visits import Visit
from linkage_console.wording import deciding

# The most that the API gives in one page; one request to the log is one event in it.
MOST_EVENTS: Final = 1000


async def names_of(visit: Visit) -> dict[str, str]:
    """Every organisation's name by its id."""
    return {found["id"]: found["name"] for found in await visit.call.items("/v1/organisations")}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the newest events under an agreement say.

    Attributes:
        read: how many were looked at.
        whole: whether these are all.
        done: of each type of event, how many succeeded.
        refused: of each element, how many requests it refused. Several elements may refuse one request.
        refusals: how many requests were refused.
    """

    read: int
    whole: bool
    done: Mapping[str, int]
    refused: Mapping[int, int]
    refusals: int


async def evidence_of(visit: Visit, reference: str) -> Evidence:
    """What happened under an agreement lately. Looking is an event in the log."""
    page = (await visit.call.get("/v1/audit/events", agreement=reference, order="newest", limit=MOST_EVENTS)).document
    return evidence((item["header"] for item in page["items"]), whole=page["next_before"] is None)


def evidence(headers: Iterable[Json], *, whole: bool) -> Evidence:
    """Counts of events by what they say."""
    done: Counter[str] = Counter()
    refused: Counter[int] = Counter()
    read = refusals = 0
    for header in headers:
        read += 1
        if header["outcome"]["status"] == "success":
            done[header["type"]] += 1
            continue
        refusals += 1
        refused.update({reason["element"] for reason in deciding(header) if reason["element"]})
    return Evidence(read=read, whole=whole, done=done, refused=refused, refusals=refusals)


def unsigned(agreement: Mapping[str, Any]) -> list[str]:
    """Ids of the parties of a proposed agreement that have not signed."""
    if agreement["version_state"] != "proposed":
        return []
    return [party["organisation"] for party in agreement["parties"] if not party["signed"]]
