"""HTTP of people: inviting and managing them, enrolment, sign-in, their own sessions."""

import time
from collections.abc import Callable
from typing import Annotated, TypeVar

import anyio
from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from linkage_service.access import sessions
from linkage_service.access.actions import Action
from linkage_service.access.guard import PUBLIC, Created, Gate, Operation, guard
from linkage_service.access.source import source_of
from linkage_service.access.tokens import token_digest
from linkage_service.errors import LinkageError, Unauthenticated
from linkage_service.organisations import service as organisations
from linkage_service.people import schemas, service, signing_in, tables
from linkage_service.people.reception import Reception, Visit
from linkage_service.problems import OF_EVERY_ROUTE, responses
from linkage_service.wire import OrganisationPath, Page, PageQuery, Route, Sha256

router = APIRouter(route_class=Route, tags=["people"], responses=OF_EVERY_ROUTE)
Answer = TypeVar("Answer")
PersonPath = Annotated[schemas.PersonId, Path(description="Id of the person.")]
TokenPath = Annotated[schemas.Token, Path(description="Token of the invitation.")]
SessionPath = Annotated[Sha256, Path(description="Id of the session.")]
# A sign-in at an identity provider comes back from another site, when browsers send no cookie that is `Strict`.
_PROVIDER_COOKIE = "linkage-provider"
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))


@router.post(
    "/v1/organisations/{organisation_id}/people", operation_id="invite_person", summary="Invite a person",
    status_code=201, response_model=schemas.PersonInvitation,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def invite_person(
    organisation_id: OrganisationPath,
    draft: schemas.PersonDraft,
    request: Request,
    gate: Annotated[Gate, guard(Action.MANAGE_PEOPLE)],
) -> Response:
    """Makes an account and gives its single-use link, shown this once. The person enrols with it.

    An Idempotency-Key has no effect here: a token is never kept.
    """
    hours = _reception(request).settings.person_invitation_hours

    def use_case(operation: Operation) -> Created:
        made = service.invite(operation, organisation_id=organisation_id, draft=draft, hours=hours)
        return Created(made, f"/v1/organisations/{organisation_id}/people/{made.person.id}")

    gate.idempotency_key = None
    return gate.change(use_case, status=201)


@router.get(
    "/v1/organisations/{organisation_id}/people", operation_id="list_people", summary="People of an organisation",
    responses=responses(401, 403, 404, 422),
)  # fmt: skip
def list_people(
    organisation_id: OrganisationPath, page: PageQuery, gate: Annotated[Gate, guard(Action.READ_PEOPLE)]
) -> Page[schemas.Person]:
    """People of the caller's own organisation, disabled ones included."""

    def query(operation: Operation) -> Page[schemas.Person]:
        row = organisations.existing(operation.session, organisation_id)
        operation.require(organisations.resource_of(row))
        rows = tables.people_page(operation.session, organisation_id=row.id, after=page.after, limit=page.limit + 1)
        return page.page(rows, schemas.Person.of, lambda person: person.id)

    return gate.read(query)


@router.post(
    "/v1/organisations/{organisation_id}/people/{person_id}/invitations", operation_id="invite_person_again",
    summary="Give a person a new link", status_code=201, response_model=schemas.PersonInvitation,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def invite_person_again(
    organisation_id: OrganisationPath,
    person_id: PersonPath,
    request: Request,
    gate: Annotated[Gate, guard(Action.MANAGE_PEOPLE)],
) -> Response:
    """For a lost link, a lost second factor or a forgotten password. What they signed in with stops working at once."""
    hours = _reception(request).settings.person_invitation_hours

    def use_case(operation: Operation) -> Created:
        made = service.invite_again(operation, organisation_id=organisation_id, person_id=person_id, hours=hours)
        return Created(made, f"/v1/organisations/{organisation_id}/people/{person_id}")

    gate.idempotency_key = None
    return gate.change(use_case, status=201)


@router.put(
    "/v1/organisations/{organisation_id}/people/{person_id}/roles", operation_id="change_roles",
    summary="Change a person's roles", response_model=schemas.Person,
    responses=responses(401, 403, 404, 409, 413, 415, 422),
)  # fmt: skip
def change_roles(
    organisation_id: OrganisationPath,
    person_id: PersonPath,
    draft: schemas.RolesDraft,
    gate: Annotated[Gate, guard(Action.MANAGE_PEOPLE)],
) -> Response:
    """Gives a person other roles; their sessions end."""
    return gate.change(
        lambda operation: schemas.Person.of(
            service.change_roles(operation, organisation_id=organisation_id, person_id=person_id, roles=draft.roles)
        )
    )


@router.post(
    "/v1/organisations/{organisation_id}/people/{person_id}:disable", operation_id="disable_person",
    summary="Shut a person out", response_model=schemas.Person, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def disable_person(
    organisation_id: OrganisationPath, person_id: PersonPath, gate: Annotated[Gate, guard(Action.MANAGE_PEOPLE)]
) -> Response:
    """Closes the account at once; sessions and invitations end."""
    return gate.change(
        lambda operation: schemas.Person.of(
            service.disable(operation, organisation_id=organisation_id, person_id=person_id)
        )
    )


@router.post(
    "/v1/organisations/{organisation_id}/people/{person_id}:enable", operation_id="enable_person",
    summary="Let a person in again", response_model=schemas.Person, responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def enable_person(
    organisation_id: OrganisationPath, person_id: PersonPath, gate: Annotated[Gate, guard(Action.MANAGE_PEOPLE)]
) -> Response:
    """Opens a disabled account again."""
    return gate.change(
        lambda operation: schemas.Person.of(
            service.enable(operation, organisation_id=organisation_id, person_id=person_id)
        )
    )


@router.post(
    "/v1/organisations/{organisation_id}/people/{person_id}:end-sessions", operation_id="end_sessions_of_person",
    status_code=204, summary="End a person's sessions", responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def end_sessions_of_person(
    organisation_id: OrganisationPath, person_id: PersonPath, gate: Annotated[Gate, guard(Action.MANAGE_PEOPLE)]
) -> Response:
    """Ends every session of a person, who can sign in again."""
    return gate.change(
        lambda operation: service.end_sessions(operation, organisation_id=organisation_id, person_id=person_id),
        status=204,
    )


@router.get(
    "/v1/enrolments/{token}", operation_id="get_enrolment", summary="What an invitation is for",
    dependencies=[PUBLIC], responses=responses(404, 422),
)  # fmt: skip
def get_enrolment(token: TokenPath, request: Request) -> schemas.Enrolment:
    """Whom the link is for. The link itself authorises."""
    reception = _reception(request)
    return service.enrolment(reception, token, now=reception.clock())


@router.post(
    "/v1/enrolments/{token}:begin", operation_id="begin_enrolment", summary="Choose a password",
    dependencies=[PUBLIC], responses=responses(403, 404, 413, 415, 422),
)  # fmt: skip
def begin_enrolment(token: TokenPath, draft: schemas.EnrolmentDraft, request: Request) -> schemas.SecondFactor:
    """Takes the password and gives a second factor for an authenticator app; it counts when a code confirms it."""
    reception = _same_origin(request)
    return service.begin_enrolment(reception, token, password=draft.password.get_secret_value(), now=reception.clock())


@router.post(
    "/v1/enrolments/{token}:confirm", operation_id="confirm_enrolment", summary="Confirm the second factor",
    dependencies=[PUBLIC], responses=responses(401, 403, 404, 413, 415, 422),
)  # fmt: skip
def confirm_enrolment(
    token: TokenPath, draft: schemas.EnrolmentConfirmation, request: Request, response: Response
) -> schemas.Person:
    """Opens the account; the link is used up. Then sign in."""
    reception = _same_origin(request)
    person, sequence = service.confirm_enrolment(
        reception,
        token,
        note=draft.enrolment.get_secret_value(),
        code=draft.code.get_secret_value(),
        visit=_visit(request),
    )
    response.headers["Linkage-Event"] = str(sequence)
    return person


@router.get(
    "/v1/sign-ins", operation_id="get_sign_in_options", summary="How people sign in here", dependencies=[PUBLIC],
)  # fmt: skip
def get_sign_in_options(request: Request) -> schemas.SignInOptions:
    """Whether an identity provider is configured besides passwords."""
    return schemas.SignInOptions(password=True, oidc=_reception(request).provider is not None)


@router.post(
    "/v1/sign-ins", operation_id="check_password", summary="Sign in, first step", dependencies=[PUBLIC],
    responses=responses(403, 413, 415, 422),
)  # fmt: skip
async def check_password(draft: schemas.PasswordCheck, request: Request) -> schemas.SignInStep:
    """Takes e-mail address and password. The answer is the same whether they are right or not; the code decides."""
    reception = _same_origin(request)
    password = draft.password.get_secret_value()
    return await _evenly(
        reception, lambda: signing_in.check_password(reception, email=draft.email, password=password), always=True
    )


@router.post(
    "/v1/sessions", operation_id="open_session", summary="Sign in", status_code=201, dependencies=[PUBLIC],
    responses=responses(401, 403, 413, 415, 422),
)  # fmt: skip
async def open_session(draft: schemas.SessionDraft, request: Request, response: Response) -> schemas.PersonSession:
    """Opens a session for both factors and sets its cookie. Whatever is wrong, the refusal is the same."""
    reception = _same_origin(request)
    visit = _visit(request)
    opened = await _evenly(reception, lambda: signing_in.open_session(reception, draft, visit))
    return _answered(response, reception, opened)


@router.get(
    "/v1/sessions", operation_id="list_sessions", summary="Your sessions", responses=responses(401, 403, 409, 422),
)  # fmt: skip
def list_sessions(request: Request, gate: Annotated[Gate, guard(Action.MANAGE_SELF)]) -> schemas.PersonSessions:
    """The caller's own sessions, newest first."""
    reception = _reception(request)
    return gate.read(lambda operation: signing_in.own_sessions(reception, operation))


@router.delete(
    "/v1/sessions", operation_id="end_sessions", summary="Sign out everywhere", status_code=204,
    responses=responses(401, 403, 409, 422),
)  # fmt: skip
def end_sessions(request: Request, gate: Annotated[Gate, guard(Action.MANAGE_SELF)]) -> Response:
    """Ends every session of the caller, this one included."""
    response = gate.change(signing_in.end_own_sessions, status=204)
    sessions.clear_cookie(response, issuer=_reception(request).issuer())
    return response


@router.delete(
    "/v1/sessions/{session_id}", operation_id="end_session", summary="End one of your sessions", status_code=204,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def end_session(
    session_id: SessionPath, request: Request, gate: Annotated[Gate, guard(Action.MANAGE_SELF)]
) -> Response:
    """Ends one session of the caller."""
    return _ending(request, gate, session_id)


@router.post(
    "/v1/sessions/current:sign-out", operation_id="sign_out", summary="Sign out", status_code=204,
    responses=responses(401, 403, 404, 409, 422),
)  # fmt: skip
def sign_out(request: Request, gate: Annotated[Gate, guard(Action.MANAGE_SELF)]) -> Response:
    """Ends the present session."""
    return _ending(request, gate, None)


@router.post(
    "/v1/sessions/current:step-up", operation_id="step_up", summary="Give the second factor again",
    response_model=schemas.PersonSession, responses=responses(401, 403, 409, 413, 415, 422, 429),
)  # fmt: skip
def step_up(draft: schemas.StepUpDraft, request: Request, gate: Annotated[Gate, guard(Action.MANAGE_SELF)]) -> Response:
    """Before what has consequences: the code again, good for a few minutes. A code that was used does not work."""
    reception = _reception(request)
    code = draft.code.get_secret_value()
    gate.idempotency_key = None
    signing_in.count_attempt(reception, gate.caller.id)
    return gate.change(lambda operation: signing_in.step_up(reception, operation, code=code))


@router.post(
    "/v1/me:change-password", operation_id="change_password", summary="Change your password", status_code=204,
    responses=responses(401, 403, 409, 413, 415, 422, 429),
)  # fmt: skip
def change_password(
    draft: schemas.PasswordChange, request: Request, gate: Annotated[Gate, guard(Action.CHANGE_PASSWORD)]
) -> Response:
    """Changes the caller's password; their other sessions end. The second factor has to be given again before."""
    reception = _reception(request)
    gate.idempotency_key = None
    signing_in.count_attempt(reception, gate.caller.id)
    return gate.change(lambda operation: signing_in.change_password(reception, operation, draft), status=204)


@router.post(
    "/v1/oidc/sign-ins", operation_id="start_with_provider", summary="Begin with the identity provider",
    status_code=201, dependencies=[PUBLIC], responses=responses(401, 403, 404, 413, 415, 422, 503),
)  # fmt: skip
def start_with_provider(draft: schemas.OidcDraft, request: Request, response: Response) -> schemas.OidcStart:
    """Gives the address to send the browser to, and a cookie that ties the answer to this browser.

    To sign in, to enrol with an invitation, or to step a session up.
    """
    reception = _same_origin(request)
    started, note = signing_in.start_with_provider(reception, draft, session=_session_digest(request))
    _set_provider_cookie(response, reception, note, life_s=900)
    return started


@router.post(
    "/v1/oidc/sessions", operation_id="finish_with_provider", summary="Finish with the identity provider",
    status_code=201, dependencies=[PUBLIC], responses=responses(401, 403, 404, 413, 415, 422, 503),
)  # fmt: skip
def finish_with_provider(draft: schemas.OidcAnswer, request: Request, response: Response) -> schemas.PersonSession:
    """Takes what came back with the browser, and opens the session or steps it up."""
    reception = _same_origin(request)
    note = request.cookies.get(_provider_cookie(reception))
    if note is None:
        raise Unauthenticated("This sign-in was not begun in this browser. Begin again.", code="begin_again")
    opened = signing_in.finish_with_provider(
        reception, draft, note=note, session=_session_digest(request), visit=_visit(request)
    )
    _set_provider_cookie(response, reception, "", life_s=0)
    return _answered(response, reception, opened)


def _reception(request: Request) -> Reception:
    reception: Reception = request.app.state.service.reception
    return reception


def _same_origin(request: Request) -> Reception:
    """For public routes that a browser uses: another site must not sign somebody in as somebody else."""
    reception = _reception(request)
    sessions.check_origin(request, issuer=reception.issuer(), required=False)
    return reception


def _session_digest(request: Request) -> str | None:
    token = sessions.token_of(request, _reception(request).issuer())
    return token_digest(token) if token else None


def _visit(request: Request) -> Visit:
    agent = request.headers.get("user-agent", "")
    return Visit(
        now=_reception(request).clock(),
        request_id=request.state.request_id,
        source=source_of(request),
        browser=next((name for mark, name in _BROWSERS if mark in agent), "other"),
    )


def _answered(response: Response, reception: Reception, opened: signing_in.Opened) -> schemas.PersonSession:
    if opened.token is not None:
        issuer, life_s = reception.issuer(), reception.settings.session_s
        sessions.set_cookie(response, opened.token, issuer=issuer, life_s=life_s)
    response.headers["Linkage-Event"] = str(opened.sequence)
    return opened.session


def _ending(request: Request, gate: Gate, session_id: str | None) -> Response:
    signed_out: list[bool] = []
    response = gate.change(
        lambda operation: signed_out.append(signing_in.end_own_session(operation, session_id)), status=204
    )
    if any(signed_out):
        sessions.clear_cookie(response, issuer=_reception(request).issuer())
    return response


def _provider_cookie(reception: Reception) -> str:
    return _PROVIDER_COOKIE if sessions.is_loopback(reception.issuer()) else f"__Host-{_PROVIDER_COOKIE}"


def _set_provider_cookie(response: Response, reception: Reception, note: str, *, life_s: int) -> None:
    response.set_cookie(
        _provider_cookie(reception),
        note,
        max_age=life_s,
        path="/",
        secure=not sessions.is_loopback(reception.issuer()),
        httponly=True,
        samesite="lax",
    )
    response.headers["Cache-Control"] = "no-store"


async def _evenly(reception: Reception, work: Callable[[], Answer], *, always: bool = False) -> Answer:
    """Does work on a thread; a refusal, or with `always` any answer, comes after the same time whatever was wrong."""
    began = time.monotonic()

    async def wait() -> None:
        await anyio.sleep(max(0.0, began + reception.settings.sign_in_answer_s - time.monotonic()))

    try:
        answer = await run_in_threadpool(work)
    except LinkageError:
        await wait()
        raise
    if always:
        await wait()
    return answer
