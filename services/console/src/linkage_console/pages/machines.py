"""Machines of an organisation and their keys: registering them, what is done about one, and taking them away."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from linkage_console.asking import REASON, Act, Field, done, roles_field, roles_given, show_form, submit
from linkage_console.calling import Answer, Json, Refusal
from linkage_console.pages.people import ROLES, looks_after
from linkage_console.routing import Page
from linkage_console.visits import Visit

_UNKNOWN: Final = "unknown"
_KEY: Final = Field(
    "jwk",
    "Public key",
    "As JSON (a JWK). The command linkage key-file new KEY --public-out FILE makes one. Never paste the private key.",
    kind="lines",
    shown_again=False,
)
_REGISTER: Final = Act(
    "Register a machine",
    "Register the machine",
    "It can then act for the organisation, with its own key and these roles.",
    frozenset(),
    "The machine is registered.",
)
_SANCTIONS: Final[Mapping[str, Act]] = {
    "warn": Act(
        "Warn this machine",
        "Put the warning on record",
        "The warning and its reason stand in the access log. Nothing is stopped.",
        frozenset({"active", "suspended", _UNKNOWN}),
        "The warning is on record.",
    ),
    "suspend": Act(
        "Suspend this machine",
        "Suspend the machine",
        "Everything that it does stops with the next request. Its access tokens end for good.",
        frozenset({"active", _UNKNOWN}),
        "The machine is suspended.",
        warns=True,
    ),
    "reinstate": Act(
        "Reinstate this machine",
        "Reinstate the machine",
        "The suspension ends. The machine asks for a new access token.",
        frozenset({"suspended", _UNKNOWN}),
        "The machine may act again.",
    ),
}
_KEEPING: Final[Mapping[str, Act]] = {
    "add-key": Act(
        "Add a key",
        "Add the key",
        "It works beside the others. To replace one: add the new key, use it, then remove the old one.",
        frozenset({"active", "suspended"}),
        "The key is added.",
    ),
    "remove": Act(
        "Remove this machine",
        "Remove the machine",
        "It stops with the next request, for good. Its keys cannot be used again.",
        frozenset({"active", "suspended"}),
        "The machine is removed.",
        warns=True,
    ),
}
_REMOVE_KEY: Final = Act(
    "Remove this key",
    "Remove the key",
    "What is signed with it is refused from the next request on. The last key of a machine stays: remove the machine.",
    frozenset(),
    "The key is removed.",
    warns=True,
)
# What a public key is made of (RFC 7518, RFC 8037), and what else may stand in it (RFC 7517) that says nothing secret.
_PUBLIC: Final[Mapping[str, frozenset[str]]] = {
    "OKP": frozenset({"kty", "crv", "x"}),
    "EC": frozenset({"kty", "crv", "x", "y"}),
}
_BESIDE: Final = frozenset({"kid", "alg", "use", "key_ops"})
ACTS: Final = {**_SANCTIONS, **_KEEPING}
DONE: Final[Mapping[str, str]] = {
    **{name: act.done for name, act in ACTS.items()},
    "register": _REGISTER.done,
    "remove-key": _REMOVE_KEY.done,
}


async def show_machine(visit: Visit) -> Response:
    """One machine. Whoever may not see what it is, such as an officer for a partner's, can still suspend it."""
    organisation = await _organisation(visit)
    machine = await _machine(visit, organisation)
    status = machine["status"] if machine else _UNKNOWN
    keeps = machine is not None and status != "revoked" and _keeps(visit, machine)
    acts = {**(_SANCTIONS if visit.oversees else {}), **(_KEEPING if keeps else {})}
    return visit.page(
        "machine.html",
        organisation=organisation,
        id=visit.param("client"),
        machine=machine,
        keeps=keeps,
        offered=[(name, act) for name, act in acts.items() if status in act.states],
        done=DONE.get(visit.query("done"), ""),
        event=visit.query("event") if visit.query("event").isdecimal() else "",
    )


async def show_registration(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form for a further machine."""
    organisation = await _organisation(visit)
    partner = organisation["kind"] == "partner"
    own = ["officer"] if visit.oversees else ["signatory", "operator"]
    roles = ["analyst", "signatory", "recipient", "officer"] if partner else own
    fields = [
        Field("name", "Name", "Such as: linkage server."),
        roles_field({role: ROLES[role] for role in roles}),
        _KEY,
    ]
    return await show_form(visit, _REGISTER, organisation["name"], _path(visit), fields, refusal=refusal)


async def register(visit: Visit) -> Response:
    """Registers it."""

    async def call() -> Answer:
        draft = {"name": visit.form["name"], "roles": roles_given(visit, ROLES), "jwk": _jwk(visit)}
        return await visit.call.change(f"/v1{_path(visit)}/clients", draft)

    return await submit(visit, call, then=done(visit, _path(visit), "register"), again=show_registration)


async def show_act(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of what is done about a machine."""
    name, organisation = visit.param("act"), await _organisation(visit)
    if name not in ACTS:
        raise Refusal.no_page()
    fields = [REASON] if name in _SANCTIONS else [_KEY] if name == "add-key" else []
    machine = await _machine(visit, organisation)
    about = f"{machine['name'] if machine else visit.param('client')}, {organisation['name']}"
    return await show_form(visit, ACTS[name], about, _client(visit), fields, refusal=refusal)


async def act(visit: Visit) -> Response:
    """Does it."""
    name, page = visit.param("act"), _client(visit)
    if name in _SANCTIONS:
        return await visit.carry_out(page, name, lambda: {"reason": visit.form["reason"]}, again=show_act)
    if name == "add-key":
        return await submit(visit, partial(_add_key, visit, page), then=done(visit, page, name), again=show_act)
    if name == "remove":
        call = partial(visit.call.change, f"/v1{page}", method="DELETE")
        return await submit(visit, call, then=done(visit, page, name), again=show_act)
    return await show_act(visit)


async def show_key_removal(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form that takes a key away."""
    return await show_form(visit, _REMOVE_KEY, visit.param("key"), _client(visit), [], refusal=refusal)


async def remove_key(visit: Visit) -> Response:
    """Takes it away."""
    page = _client(visit)
    call = partial(visit.call.change, f"/v1{page}/keys/{visit.param('key')}", method="DELETE")
    return await submit(visit, call, then=done(visit, page, "remove-key"), again=show_key_removal)


async def _add_key(visit: Visit, page: str) -> Answer:
    return await visit.call.change(f"/v1{page}/keys", {"jwk": _jwk(visit)})


def _jwk(visit: Visit) -> Json:
    """The public key of the form: its public members and nothing else.

    Raises:
        Refusal: it is no JSON, or holds anything else, which may be a private key and goes no further.
    """
    try:
        found: Any = json.loads(visit.form["jwk"])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(422, {"detail": "Paste the public key as JSON, from its first { to its last }."})
    if "d" in found:
        words = "This is a private key. It was not passed on; make a new one all the same, and paste its public half."
        raise Refusal(422, {"detail": words})
    public = _PUBLIC.get(str(found.get("kty")), frozenset())
    whole = public and public <= found.keys() <= public | _BESIDE
    if not whole or not all(isinstance(found[name], str) for name in public):
        words = (
            "This is not one public key and nothing else, so it was not passed on. If a private or secret key is in "
            "it, make a new one. Paste one public JWK of type Ed25519 or P-256."
        )
        raise Refusal(422, {"detail": words})
    return {name: found[name] for name in sorted(public)}


def _keeps(visit: Visit, machine: Json) -> bool:
    """Whether a machine of the own organisation is the person's to look after: officers look after officers' only."""
    return not visit.of_unit or ("officer" in machine["roles"]) is visit.oversees


async def _machine(visit: Visit, organisation: Json) -> Json | None:
    """The machine, for those who may see it.

    Raises:
        Refusal: there is none, or the person has no business with it.
    """
    if not looks_after(visit, organisation):
        if not visit.oversees:
            raise Refusal(404, {"title": "Not found", "detail": "There is no such machine, or it is not yours to see."})
        return None
    wanted = visit.param("client")
    found = next((item for item in await visit.call.items(f"/v1{_path(visit)}/clients") if item["id"] == wanted), None)
    if found is None:
        raise Refusal(404, {"title": "Not found", "detail": "There is no such machine in this organisation."})
    return found


def _path(visit: Visit) -> str:
    return f"/organisations/{visit.param('organisation')}"


def _client(visit: Visit) -> str:
    return f"{_path(visit)}/clients/{visit.param('client')}"


async def _organisation(visit: Visit) -> Json:
    found: Json = (await visit.call.get(f"/v1{_path(visit)}")).document
    return found


PAGES: Final = (
    Page("GET", "/organisations/{organisation}/clients/new", show_registration),
    Page("POST", "/organisations/{organisation}/clients/new", register),
    Page("GET", "/organisations/{organisation}/clients/{client}", show_machine),
    Page("GET", "/organisations/{organisation}/clients/{client}/{act}", show_act),
    Page("POST", "/organisations/{organisation}/clients/{client}/{act}", act),
    Page("GET", "/organisations/{organisation}/clients/{client}/keys/{key}/remove", show_key_removal),
    Page("POST", "/organisations/{organisation}/clients/{client}/keys/{key}/remove", remove_key),
)
