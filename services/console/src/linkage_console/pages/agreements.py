"""Agreements: the register, one of them with its nine elements in words, and what officers do about one."""

import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from linkage_client.agreements.words import Element, Names, Said, say
from linkage_client.errors import AgreementInvalidError
from linkage_client.keys import document_digest
from linkage_console.asking import Act
from linkage_console.calling import Json, Refusal
from linkage_console.gathering import evidence_of, names_of, unsigned
from linkage_console.routing import Page
from linkage_console.visits import Visit

_STALE: Final = 412
_STATES: Final = ("draft", "proposed", "active", "suspended", "expired", "terminated")


ACTS: Final[Mapping[str, Act]] = {
    "suspend": Act(
        "Suspend this agreement",
        "Suspend the agreement",
        "All processing and all results under every version stop with the next request, until it is reinstated.",
        frozenset({"active"}),
        "The agreement is suspended.",
        warns=True,
    ),
    "reinstate": Act(
        "Reinstate this agreement",
        "Reinstate the agreement",
        "The suspension ends. What the agreement allows is allowed again with the next request.",
        frozenset({"suspended"}),
        "The agreement is in force again.",
    ),
    "review": Act(
        "Record a review",
        "Record the review",
        "Says whether the sharing goes on and when it is reviewed again. Where it does not pass, nothing new is "
        "processed.",
        frozenset({"active", "suspended"}),
        "The review is recorded.",
    ),
    "terminate": Act(
        "End this agreement for good",
        "End the agreement",
        "Every version and every project under it ends, and what was shared is deleted. This cannot be undone.",
        frozenset({"draft", "proposed", "active", "suspended"}),
        "The agreement has ended.",
        warns=True,
    ),
}


async def show_register(visit: Visit) -> Response:
    """The register with its filters."""
    state, party, words = visit.query("state"), visit.query("party"), visit.query("words")
    names = await names_of(visit)
    found = [
        agreement
        for agreement in await visit.call.items("/v1/agreements")
        if state in {"", agreement["state"]}
        and (not party or any(part["organisation"] == party for part in agreement["parties"]))
        and words.casefold() in f"{agreement['reference']} {agreement['title']}".casefold()
    ]
    return visit.page(
        "agreements.html",
        agreements=sorted(found, key=lambda agreement: str(agreement["reference"])),
        names=names,
        states=_STATES,
        asked={"state": state, "party": party, "words": words},
    )


async def show_agreement(visit: Visit) -> Response:
    """One agreement as it stands."""
    agreement = await _agreement(visit)
    return await _show_version(visit, agreement, agreement["version"])


async def show_version(visit: Visit) -> Response:
    """One version of it."""
    return await _show_version(visit, await _agreement(visit), visit.request.path_params["version"])


async def show_changes(visit: Visit) -> Response:
    """What one version says otherwise than the version before."""
    agreement, number = await _agreement(visit), visit.request.path_params["version"]
    names = Names(await names_of(visit))
    path = f"/v1/agreements/{agreement['id']}/versions"
    texts = [(await visit.call.get(f"{path}/{n}")).document["document"] for n in (number - 1, number)]
    before, after = (say(text, names) for text in texts)
    return visit.page(
        "agreement_changes.html", agreement=agreement, version=number, changes=list(changes(before, after))
    )


async def show_act(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of an act, with its reason."""
    name = visit.param("act")
    answer = await visit.call.get(f"/v1/agreements/{visit.param('agreement')}")
    return visit.page(
        "agreement_act.html",
        status=200 if refusal is None else refusal.status,
        agreement=answer.document,
        name=name,
        act=_act(name),
        # What the officer has read before, so that a change in between is noticed.
        etag=visit.form["etag"] if refusal is not None and refusal.status != _STALE else answer.headers["etag"],
        confirms_with=await visit.confirms_with(),
        given=visit.form,
        refusal=refusal,
    )


async def act(visit: Visit) -> Response:
    """Does it."""
    name, form = visit.param("act"), visit.form
    _act(name)
    return await visit.carry_out(
        f"/agreements/{visit.param('agreement')}",
        name,
        lambda: _review(visit) if name == "review" else {"reason": form["reason"]},
        again=show_act,
        if_match=form["etag"],
    )


def changes(before: Said, after: Said) -> Iterator[tuple[Element, list[tuple[str, str]]]]:
    """Elements that differ, each with its sentences: ("gone", text), ("new", text) or ("same", text)."""
    for old, new in zip(before.elements, after.elements, strict=True):
        said, says = list(_sentences(old)), list(_sentences(new))
        if said != says:
            marks = {"- ": "gone", "+ ": "new", "  ": "same"}
            compared = (line for line in difflib.ndiff(said, says) if line[:2] in marks)
            yield new, [(marks[line[:2]], line[2:]) for line in compared]


def _sentences(element: Element) -> Iterator[str]:
    for block in element.blocks:
        yield from (f"{block.heading}: {sentence}" for sentence in (*block.sentences, *block.listed))


def _review(visit: Visit) -> Json:
    form = visit.form
    try:
        by = datetime.fromisoformat(f"{form['review_by']}T00:00:00+00:00").isoformat().replace("+00:00", "Z")
    except ValueError:
        raise Refusal(422, {"detail": "Say by which day it is reviewed again."}) from None
    return {"passed": form["passed"] == "yes", "review_by": by, "findings": form["findings"]}


def _act(name: str) -> Act:
    try:
        return ACTS[name]
    except KeyError:
        raise Refusal.no_page() from None


async def _agreement(visit: Visit) -> dict[str, Any]:
    found: dict[str, Any] = (await visit.call.get(f"/v1/agreements/{visit.param('agreement')}")).document
    return found


async def _show_version(visit: Visit, agreement: Json, number: int) -> Response:
    version = (await visit.call.get(f"/v1/agreements/{agreement['id']}/versions/{number}")).document
    names = await names_of(visit)
    try:
        said = say(version["document"], Names(names))
    except AgreementInvalidError:
        # A newer service's document: better no words than some.
        said = None
    offered = [
        (name, act) for name, act in ACTS.items() if agreement["state"] in act.states and _is_offered(visit, name)
    ]
    done = ACTS.get(visit.query("done"))
    return visit.page(
        "agreement.html",
        agreement=agreement,
        version=version,
        said=said,
        same_digest=document_digest(version["document"]) == version["digest"],
        names=names,
        unsigned=unsigned(version),
        evidence=await evidence_of(visit, agreement["reference"]),
        offered=offered,
        done=done.done if done else "",
        event=visit.query("event") if visit.query("event").isdecimal() else "",
    )


def _is_offered(visit: Visit, act: str) -> bool:
    """Whether a button is shown; the API decides whether it does anything."""
    return visit.oversees or (act in {"suspend", "terminate"} and "signatory" in visit.roles)


PAGES: Final = (
    Page("GET", "/agreements", show_register),
    Page("GET", "/agreements/{agreement}", show_agreement),
    Page("GET", "/agreements/{agreement}/versions/{version:int}", show_version),
    Page("GET", "/agreements/{agreement}/versions/{version:int}/changes", show_changes),
    Page("GET", "/agreements/{agreement}/{act}", show_act),
    Page("POST", "/agreements/{agreement}/{act}", act),
)
