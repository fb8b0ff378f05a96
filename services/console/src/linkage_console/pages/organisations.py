"""Organisations: who is registered, and what officers do about one."""

from typing import Final

from starlette.responses import Response

from linkage_client.keys import thumbprint
from linkage_console.asking import Act
from linkage_console.calling import Json, Refusal
from linkage_console.pages.machines import DONE
from linkage_console.pages.people import looks_after, may_invite
from linkage_console.routing import Page
from linkage_console.visits import Visit

_ED25519: Final = {"kty": "OKP", "crv": "Ed25519"}
_NOT_FOUND: Final = 404
ACTS: Final = {
    "warn": Act(
        "Warn this organisation",
        "Put the warning on record",
        "The warning and its reason stand in the access log. Nothing is stopped.",
        frozenset({"invited", "active", "suspended"}),
        "The warning is on record.",
    ),
    "suspend": Act(
        "Suspend this organisation",
        "Suspend the organisation",
        "Everything that its machines and people do stops with the next request. Its access tokens end for good.",
        frozenset({"active"}),
        "The organisation is suspended.",
        warns=True,
    ),
    "reinstate": Act(
        "Reinstate this organisation",
        "Reinstate the organisation",
        "The suspension ends. Its machines ask for new access tokens.",
        frozenset({"suspended"}),
        "The organisation may act again.",
    ),
}


async def show_all(visit: Visit) -> Response:
    """Every organisation."""
    found = await visit.call.items("/v1/organisations")
    return visit.page("organisations.html", organisations=sorted(found, key=lambda item: str(item["name"]).casefold()))


async def show_one(visit: Visit) -> Response:
    """One organisation with its keys, and its people and machines for those who may see them."""
    organisation = (await visit.call.get(f"/v1/organisations/{visit.param('organisation')}")).document
    path = f"/v1/organisations/{organisation['id']}"
    looked_after = looks_after(visit, organisation)
    card = await _card(visit, path)
    offered = [(name, act) for name, act in ACTS.items() if organisation["status"] in act.states and visit.oversees]
    done = visit.query("done")
    return visit.page(
        "organisation.html",
        organisation=organisation,
        people=await visit.call.items(f"{path}/people") if looked_after else None,
        machines=await visit.call.items(f"{path}/clients") if looked_after else None,
        invites=may_invite(visit, organisation),
        card=card,
        card_key=card and thumbprint(_ED25519 | {"x": card["document"]["signing_key"]}),
        signing_key=organisation["signing_key"] and thumbprint(organisation["signing_key"]),
        offered=offered if organisation["kind"] == "partner" else [],
        done=ACTS[done].done if done in ACTS else DONE.get(done, ""),
        event=visit.query("event") if visit.query("event").isdecimal() else "",
    )


async def show_act(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of an act, with its reason."""
    name = visit.param("act")
    found = (await visit.call.get(f"/v1/organisations/{visit.param('organisation')}")).document
    if name not in ACTS:
        raise Refusal.no_page()
    return visit.page(
        "organisation_act.html",
        status=200 if refusal is None else refusal.status,
        organisation=found,
        name=name,
        act=ACTS[name],
        confirms_with=await visit.confirms_with(),
        given=visit.form,
        refusal=refusal,
    )


async def act(visit: Visit) -> Response:
    """Does it."""
    name, organisation = visit.param("act"), visit.param("organisation")
    if name not in ACTS:
        return await show_act(visit)
    return await visit.carry_out(
        f"/organisations/{organisation}", name, lambda: {"reason": visit.form["reason"]}, again=show_act
    )


async def _card(visit: Visit, path: str) -> Json | None:
    """The key card, if there is one."""
    try:
        found: Json = (await visit.call.get(f"{path}/key-card")).document
    except Refusal as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        return None
    return found


PAGES: Final = (
    Page("GET", "/organisations", show_all),
    Page("GET", "/organisations/{organisation}", show_one),
    Page("GET", "/organisations/{organisation}/{act}", show_act),
    Page("POST", "/organisations/{organisation}/{act}", act),
)
