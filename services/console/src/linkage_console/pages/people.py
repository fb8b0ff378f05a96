"""People of an organisation: who they are, inviting them, and what is done about one of them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from starlette.responses import Response

from linkage_console.asking import Act, Field, done, roles_field, roles_given, show_form, submit
from linkage_console.calling import Answer, Json, Refusal
from linkage_console.routing import Page
from linkage_console.visits import Visit

_EVERY: Final = frozenset({"invited", "active", "disabled"})
ROLES: Final[Mapping[str, str]] = {
    "signatory": "Signatory: signs agreements, and looks after people and machines of the organisation",
    "officer": "Officer: reads and exports the access log, and looks into alarms",
    "analyst": "Analyst: looks after projects, uploads and runs",
    "recipient": "Recipient: asks for results",
    "administrator": "Administrator: enters organisations, and looks after people and machines of the linkage unit",
    "operator": "Operator: runs the machine of the service",
}
_INVITE: Final = Act(
    "Invite a person",
    "Invite",
    "You are given a link, this once, to send to the person. It opens the account with a password and a second factor.",
    frozenset(),
    "",
)
ACTS: Final[Mapping[str, Act]] = {
    "roles": Act(
        "Change the roles",
        "Change the roles",
        "All sessions of the person end. With the next one they may do what the new roles allow.",
        _EVERY,
        "The roles are changed.",
    ),
    "link": Act(
        "Make a new link",
        "Make a new link",
        "For a link, password or telephone that was lost. What the person signs in with stops working at once, and "
        "their sessions end.",
        frozenset({"invited", "active"}),
        "",
        warns=True,
    ),
    "end-sessions": Act(
        "End all sessions",
        "End the sessions",
        "The person is signed out everywhere, and can sign in again.",
        frozenset({"active"}),
        "The sessions have ended.",
    ),
    "disable": Act(
        "Disable the account",
        "Disable the account",
        "The person is shut out with the next request. Sessions and links end.",
        frozenset({"invited", "active"}),
        "The account is disabled.",
        warns=True,
    ),
    "enable": Act(
        "Enable the account",
        "Enable the account",
        "The person can sign in again, with what they signed in with before.",
        frozenset({"disabled"}),
        "The account is enabled.",
    ),
}


def looks_after(visit: Visit, organisation: Json) -> bool:
    """Whether the person is offered the people and machines of an organisation; the API decides what it gives."""
    if not visit.belongs_to(organisation):
        return False
    return bool(visit.roles & {"signatory", "administrator"}) or visit.oversees


def roles_offered(visit: Visit, organisation: Json) -> list[str]:
    """The roles that the person may give to people of an organisation."""
    if organisation["kind"] == "partner":
        return ["signatory", "officer", "analyst", "recipient"] if visit.belongs_to(organisation) else ["signatory"]
    # Nobody oversees themselves: officers are invited by officers, and officers invite nobody else.
    return ["officer"] if visit.oversees else ["administrator", "operator", "signatory"]


def may_invite(visit: Visit, organisation: Json) -> bool:
    """Whether the person is offered to invite somebody: an administrator of the unit, a partner's first signatory."""
    return looks_after(visit, organisation) or (visit.of_unit and "administrator" in visit.roles)


async def show_invitation(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of an invitation."""
    organisation = await _organisation(visit)
    fields = [
        Field("name", "Name"),
        Field("email", "E-mail address", hint="The person signs in with it.", kind="email"),
        roles_field({role: ROLES[role] for role in roles_offered(visit, organisation)}),
    ]
    return await show_form(visit, _INVITE, organisation["name"], _path(visit), fields, refusal=refusal)


async def invite(visit: Visit) -> Response:
    """Makes the account, and shows the link this once."""

    async def call() -> Answer:
        draft = {"name": visit.form["name"], "email": visit.form["email"], "roles": roles_given(visit, ROLES)}
        return await visit.call.change(f"/v1{_path(visit)}/people", draft)

    return await submit(visit, call, then=_link_shown(visit), again=show_invitation)


async def show_person(visit: Visit) -> Response:
    """One person, and what can be done about the account."""
    organisation, person = await _organisation(visit), await _person(visit)
    said = ACTS.get(visit.query("done"))
    return visit.page(
        "person.html",
        organisation=organisation,
        person=person,
        offered=[
            (name, act) for name, act in ACTS.items()
            if person["status"] in act.states and _is_offered(visit, organisation, person)
        ],
        done=said.done if said else "",
        event=visit.query("event") if visit.query("event").isdecimal() else "",
    )  # fmt: skip


async def show_act(visit: Visit, *, refusal: Refusal | None = None) -> Response:
    """The form of what is done about a person."""
    name, organisation, person = visit.param("act"), await _organisation(visit), await _person(visit)
    if name not in ACTS:
        raise Refusal.no_page()
    fields = []
    if name == "roles":
        wanted = {*person["roles"], *roles_offered(visit, organisation)}
        fields = [roles_field({role: label for role, label in ROLES.items() if role in wanted}, had=person["roles"])]
    back = f"{_path(visit)}/people/{person['id']}"
    return await show_form(visit, ACTS[name], person["name"], back, fields, refusal=refusal)


async def act(visit: Visit) -> Response:
    """Does it."""
    name, page = visit.param("act"), f"{_path(visit)}/people/{visit.param('person')}"
    if name not in ACTS:
        return await show_act(visit)
    if name == "link":
        call = partial(visit.call.change, f"/v1{page}/invitations")
        return await submit(visit, call, then=_link_shown(visit), again=show_act)
    if name == "roles":
        return await submit(visit, partial(_give_roles, visit, page), then=done(visit, page, name), again=show_act)
    return await visit.carry_out(page, name, dict, again=show_act)


async def _give_roles(visit: Visit, page: str) -> Answer:
    return await visit.call.change(f"/v1{page}/roles", {"roles": roles_given(visit, ROLES)}, method="PUT")


def _link_shown(visit: Visit) -> Callable[[Answer], Response]:
    def show(answer: Answer) -> Response:
        link = f"{visit.console.address()}{answer.document['path']}"
        return visit.page("invited.html", made=answer.document, link=link, organisation=visit.param("organisation"))

    return show


def _is_offered(visit: Visit, organisation: Json, person: Json) -> bool:
    if person["id"] == ((visit.me or {}).get("person") or {}).get("id") or not looks_after(visit, organisation):
        return False
    return organisation["kind"] == "partner" or ("officer" in person["roles"]) is visit.oversees


def _path(visit: Visit) -> str:
    return f"/organisations/{visit.param('organisation')}"


async def _organisation(visit: Visit) -> Json:
    found: Json = (await visit.call.get(f"/v1{_path(visit)}")).document
    return found


async def _person(visit: Visit) -> Json:
    wanted = visit.param("person")
    found = next((item for item in await visit.call.items(f"/v1{_path(visit)}/people") if item["id"] == wanted), None)
    if found is None:
        raise Refusal(404, {"title": "Not found", "detail": "There is no such person in this organisation."})
    return found


PAGES: Final = (
    Page("GET", "/organisations/{organisation}/people/new", show_invitation),
    Page("POST", "/organisations/{organisation}/people/new", invite),
    Page("GET", "/organisations/{organisation}/people/{person}", show_person),
    Page("GET", "/organisations/{organisation}/people/{person}/{act}", show_act),
    Page("POST", "/organisations/{organisation}/people/{person}/{act}", act),
)
