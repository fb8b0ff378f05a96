"""Use cases of sign-in: both factors, step-up, the identity provider, and a person's own sessions.

Every refused sign-in gets one answer. An attempt is counted before it is judged, so that many at once are not judged
before one is counted. While an account has to wait, attempts are not judged and are no events: strangers who know an
e-mail address make the ledger grow by a handful of events, then by one for each wait.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.guard import Operation
from linkage_service.access.tokens import token_digest
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.unit import UnitOfWork, unit_of_work
from linkage_service.errors import (
    Conflict,
    FieldError,
    Invalid,
    LinkageError,
    NotFound,
    TooManyAttempts,
    Unauthenticated,
)
from linkage_service.people import oidc, schemas, service, tables, totp
from linkage_service.people.passwords import check_strength
from linkage_service.people.reception import Reception, Visit, record_refusal

_STEP_LIFE = timedelta(minutes=5)
_PROVIDER_LIFE = timedelta(minutes=15)
_LONGEST_WAIT_S = 3600
_PASSWORD, _OIDC = "password+totp", "oidc"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened.

    Attributes:
        token: for the cookie, kept nowhere else; None where the session was there before.
        session: what the person is told of it.
        sequence: number of its event in the ledger.
    """

    token: str | None
    session: schemas.PersonSession
    sequence: int


@dataclass(frozen=True, slots=True)
class _Made:
    """A session within its transaction."""

    token: str | None
    row: tables.PersonSession

    def opened(self, reception: Reception, unit: UnitOfWork) -> Opened:
        """The same once the transaction is over."""
        shown = _shown(reception, self.row, unit.now, self.row.token_digest)
        return Opened(self.token, shown, unit.sequence[-1])


@dataclass(frozen=True, slots=True)
class _Password:
    """What the first factor came to.

    Attributes:
        person: whose account it was about; None where there is none.
        generation: of the password that was right; empty where it was wrong.
    """

    person: str | None
    generation: str


def check_password(reception: Reception, *, email: str, password: str) -> schemas.SignInStep:
    """The first of two steps. Its answer does not say whether the password was right."""
    checked = _check_password(reception, email=email, password=password)
    until = reception.clock() + _STEP_LIFE
    members = {"person": checked.person, "generation": checked.generation}
    return schemas.SignInStep(sign_in=reception.note("sign-in", members, until=until), expires_at=until)


def open_session(reception: Reception, draft: schemas.SessionDraft, visit: Visit) -> Opened:
    """Opens a session for both factors.

    Raises:
        Unauthenticated: one of them is wrong, there is no such account, it is closed, or it has to wait.
    """
    if draft.sign_in is not None:
        noted = reception.noted("sign-in", draft.sign_in.get_secret_value())
        checked = _Password(noted["person"], noted["generation"])
    else:
        password = draft.password.get_secret_value() if draft.password else ""
        checked = _check_password(reception, email=draft.email or "", password=password)
    person = _counted(reception, checked.person, now=visit.now) if checked.person else None
    if person is None:
        raise _refused(visit, "unknown_or_waiting")
    secret = reception.second_factor(person)
    step = _step(secret, draft.code.get_secret_value(), person, visit.now)
    right = bool(checked.generation) and hmac.compare_digest(checked.generation, _generation(person.password_hash))
    if not right or step is None or person.status != "active":
        code = "wrong_password" if not right else "wrong_code" if step is None else "disabled"
        waits = person.locked_until is not None
        record_refusal(reception, visit, person, action="signIn", code="locked_out" if waits else code)
        raise _refused(visit, code)
    with unit_of_work(database=reception.database, log=reception.log, now=visit.now) as unit:
        row = _used(unit.session, person.id, step)
        if row is None:
            raise _refused(visit, "used_meanwhile")
        made = _open(reception, unit, row, visit, method=_PASSWORD)
    return made.opened(reception, unit)


def step_up(reception: Reception, operation: Operation, *, code: str) -> schemas.PersonSession:
    """Notes that the second factor was given again.

    Raises:
        Invalid: the code is wrong or was used.
        Conflict: the person signs in with an identity provider.
    """
    person, caller = service.own_account(operation)
    secret = reception.second_factor(person)
    if secret is None:
        raise Conflict("This account has no second factor here. Confirm with the identity provider.", code="use_oidc")
    step = _step(secret, code, person, operation.now)
    if step is None:
        raise service.wrong_code()
    _used(operation.session, person.id, step)
    row = _session_of(operation.session, caller.session, person)
    row.stepped_up_at = operation.now
    operation.session.add(row)
    operation.record(EventType.PERSON_STEPPED_UP, resource=events.Resource("person", caller.id))
    return _shown(reception, row, operation.now, caller.session)


def change_password(reception: Reception, operation: Operation, draft: schemas.PasswordChange) -> None:
    """Changes the password; every other session of the person ends.

    The count of attempts stays: only the second factor sets it back, or whoever knows the password could guess at the
    second factor without end.

    Raises:
        Invalid: the password so far is wrong, or the new one cannot be used.
    """
    person, caller = service.own_account(operation)
    if not reception.passwords.is_right(draft.password.get_secret_value(), kept=person.password_hash):
        detail = "This is not the password so far."
        raise Invalid(detail, code="wrong_password", errors=[FieldError("/password", "wrong_password", detail)])
    new = draft.new_password.get_secret_value()
    check_strength(new, about=(person.name, person.email), pointer="/new_password")
    person.password_hash = reception.passwords.hash(new)
    operation.session.add(person)
    ended = tables.end_sessions(operation.session, person.id, but=caller.session)
    operation.record(
        EventType.PERSON_PASSWORD_CHANGED,
        resource=events.Resource("person", person.id),
        counts={"sessions": ended},
    )


def count_attempt(reception: Reception, person_id: str) -> None:
    """Counts an attempt of a person in a session to prove themselves again; success sets the count back.

    Raises:
        TooManyAttempts: the account has to wait.
    """
    with reception.database.reading() as session:
        if tables.person(session, person_id) is None:
            return  # a client has no account, which the use case says
    if _counted(reception, person_id, now=reception.clock()) is None:
        raise TooManyAttempts(
            "There were too many wrong attempts, so this account has to wait. Nothing was changed. Try again later."
        )


def own_sessions(reception: Reception, operation: Operation) -> schemas.PersonSessions:
    """The caller's sessions that are in force."""
    person, caller = service.own_account(operation)
    idle = timedelta(seconds=reception.settings.session_idle_s)
    rows = [
        row for row in tables.sessions_of(operation.session, person.id)
        if row.expires_at > operation.now and row.last_seen_at + idle > operation.now
    ]  # fmt: skip
    return schemas.PersonSessions(items=[_shown(reception, row, operation.now, caller.session) for row in rows])


def end_own_session(operation: Operation, session_id: str | None) -> bool:
    """Ends one of the caller's sessions, by default the present one; whether it was that.

    Raises:
        NotFound: it is not one of theirs.
    """
    person, caller = service.own_account(operation)
    digest = session_id or caller.session
    row = tables.person_session(operation.session, digest)
    if row is None or row.person != person.id:
        raise NotFound("You have no such session.")
    operation.session.delete(row)
    signed_out = digest == caller.session
    operation.record(
        EventType.PERSON_SIGNED_OUT if signed_out else EventType.PERSON_SESSIONS_REVOKED,
        resource=events.Resource("person", person.id),
        counts={"sessions": 1},
    )
    return signed_out


def end_own_sessions(operation: Operation) -> None:
    """Ends every session of the caller, the present one included."""
    person, _ = service.own_account(operation)
    ended = tables.end_sessions(operation.session, person.id)
    operation.record(
        EventType.PERSON_SESSIONS_REVOKED, resource=events.Resource("person", person.id), counts={"sessions": ended}
    )


def start_with_provider(
    reception: Reception, draft: schemas.OidcDraft, *, session: str | None
) -> tuple[schemas.OidcStart, str]:
    """Where to send the browser, and the note that it keeps meanwhile.

    Args:
        reception: the parts.
        draft: what for.
        session: digest of the token of the session that is to be stepped up.

    Raises:
        NotFound: no identity provider is configured, or the invitation is not valid.
        Unauthenticated: a step-up without a session.
    """
    provider, now = _provider(reception), reception.clock()
    invitation = token_digest(draft.invitation) if draft.invitation else None
    with reception.database.reading() as reading:
        if invitation:
            service.invited(reading, invitation, now=now)
        if draft.purpose == "step_up" and tables.person_session(reading, session or "") is None:
            raise Unauthenticated("The session has ended. Sign in again.", code="session_ended")
    request = provider.authorization(again=draft.purpose == "step_up")
    until = now + _PROVIDER_LIFE
    members: dict[str, Any] = {
        "purpose": draft.purpose,
        "invitation": invitation,
        "session": session if draft.purpose == "step_up" else None,
        "state": request.state,
        "nonce": request.nonce,
        "verifier": request.verifier,
        "began": now.timestamp(),
    }
    note = reception.note("oidc", members, until=until)
    return schemas.OidcStart(authorization_url=request.url, expires_at=until), note


def finish_with_provider(
    reception: Reception, answer: schemas.OidcAnswer, *, note: str, session: str | None, visit: Visit
) -> Opened:
    """Opens a session, or steps one up, for whom the identity provider says that it is.

    A refusal is an event where it is about a person who is known: the one of the subject, of the invitation, of the
    session, or of the verified address. Nobody is ever made.

    Raises:
        Unauthenticated: the answer does not hold, or nobody here is meant.
    """
    provider, noted = _provider(reception), reception.noted("oidc", note)
    known = _person_of_note(reception, noted, session=session, now=visit.now)
    try:
        _check_state(noted, answer)
        identity = provider.identity(
            answer.code.get_secret_value(),
            verifier=noted["verifier"],
            nonce=noted["nonce"],
            named_issuer=answer.iss,
            now=visit.now,
        )
        person = _person_of(reception, identity, noted, known)
        known = person or known
        _check_identity(identity, noted, person)
        made, unit = _admit(reception, noted, identity, person, visit)
    except oidc.ProviderRefused as error:
        if known is not None:
            record_refusal(reception, visit, known, action="signIn", code=error.instance_code)
        _log.warning("oidc_refused", code=error.instance_code, request_id=visit.request_id)
        raise
    return made.opened(reception, unit)


def _admit(
    reception: Reception, noted: dict[str, Any], identity: oidc.Identity, person: tables.Person | None, visit: Visit
) -> tuple[_Made, UnitOfWork]:
    """Opens or steps up the session of whom the identity means, if that still holds within the transaction.

    Raises:
        NotFound: the invitation was used or withdrawn meanwhile.
        ProviderRefused: the account was closed, reset or linked meanwhile.
    """
    with unit_of_work(database=reception.database, log=reception.log, now=visit.now) as unit:
        row = tables.locked_person(unit.session, person.id) if person else None
        if row is None or person is None:
            raise service.invalid_invitation()
        if noted["purpose"] == "enrol" and (
            service.invited(unit.session, noted["invitation"], now=visit.now).id != row.id
        ):
            raise service.invalid_invitation()
        if row.status == "disabled":
            raise oidc.ProviderRefused("The account is disabled.", code="disabled")
        if _standing(row) != _standing(person):
            raise oidc.ProviderRefused("The account was changed meanwhile.", code="changed_meanwhile")
        if noted["purpose"] == "step_up":
            return _step_up_by_provider(unit, row, visit, digest=noted["session"]), unit
        if row.status == "invited":
            row.oidc_issuer, row.oidc_subject = identity.issuer, identity.subject
            service.activate(unit.session, row)
            unit.record(visit.event(EventType.PERSON_ENROLLED, row, action="enrol", method=_OIDC))
        return _open(reception, unit, row, visit, method=_OIDC), unit


def _standing(person: tables.Person) -> tuple[str | None, ...]:
    return person.status, person.oidc_issuer, person.oidc_subject


def _check_password(reception: Reception, *, email: str, password: str) -> _Password:
    with reception.database.reading() as session:
        person = tables.person_with_email(session, email)
    kept = person.password_hash if person else None
    if not reception.passwords.is_right(password, kept=kept) or person is None or kept is None:
        return _Password(person.id if person else None, "")
    if reception.passwords.is_weak(kept):
        kept = reception.passwords.hash(password)
        # The same password under stronger parameters is no change that anybody asks about, so it is no event.
        with reception.database.writing() as session:
            row = tables.locked_person(session, person.id)
            if row is not None and row.password_hash == person.password_hash:
                row.password_hash = kept
                session.add(row)
    return _Password(person.id, _generation(kept))


def _generation(kept: str | None) -> str:
    return hashlib.sha256(kept.encode()).hexdigest() if kept else ""


def _counted(reception: Reception, person_id: str, *, now: datetime) -> tables.Person | None:
    """The person with one attempt more; None if there is none, or they have to wait.

    `locked_until` is set in what is returned if this attempt, should it fail, makes the account wait.
    """
    settings = reception.settings
    with reception.database.writing() as session:
        person = tables.locked_person(session, person_id)
        if person is None or (person.locked_until is not None and person.locked_until > now):
            return None
        person.failed_attempts += 1
        over = person.failed_attempts - settings.sign_in_attempts
        wait_s = min(_LONGEST_WAIT_S, settings.sign_in_wait_s * 2 ** min(max(over, 0), 16))
        person.locked_until = now + timedelta(seconds=wait_s) if over >= 0 else None
        session.add(person)
        return person


def _step(secret: bytes | None, code: str, person: tables.Person, now: datetime) -> int | None:
    return totp.matching_step(secret or bytes(20), code, now=now, after=person.totp_last_step) if secret else None


def _used(session: Session, person_id: str, step: int) -> tables.Person | None:
    """Uses up a code and sets the count of attempts back; None if the code was used or the account closed meanwhile."""
    person = tables.locked_person(session, person_id)
    if person is None or person.status != "active" or (person.totp_last_step or 0) >= step:
        return None
    person.totp_last_step = step
    person.failed_attempts, person.locked_until = 0, None
    session.add(person)
    return person


def _open(reception: Reception, unit: UnitOfWork, person: tables.Person, visit: Visit, *, method: str) -> _Made:
    token = secrets.token_urlsafe(32)
    digest = token_digest(token)
    row = tables.PersonSession(
        token_digest=digest,
        person=person.id,
        method=method,
        second_factor=True,
        browser=visit.browser,
        source=visit.source,
        created_at=visit.now,
        last_seen_at=visit.now,
        expires_at=visit.now + timedelta(seconds=reception.settings.session_s),
    )
    tables.forget_sessions(unit.session, before=visit.now)
    unit.session.add(row)
    unit.record(visit.event(EventType.PERSON_SIGNED_IN, person, action="signIn", method=method, session=digest))
    return _Made(token, row)


def _step_up_by_provider(unit: UnitOfWork, person: tables.Person, visit: Visit, *, digest: str) -> _Made:
    row = _session_of(unit.session, digest, person)
    row.stepped_up_at = visit.now
    unit.session.add(row)
    unit.record(visit.event(EventType.PERSON_STEPPED_UP, person, action="stepUp", method=_OIDC, session=digest))
    return _Made(None, row)


def _session_of(session: Session, digest: str, person: tables.Person) -> tables.PersonSession:
    row = tables.person_session(session, digest)
    if row is None or row.person != person.id:
        raise Unauthenticated("The session has ended. Sign in again.", code="session_ended")
    return row


def _shown(reception: Reception, row: tables.PersonSession, now: datetime, current: str) -> schemas.PersonSession:
    members = row.model_dump(include={"method", "browser", "source", "created_at", "last_seen_at", "expires_at"})
    return schemas.PersonSession.model_validate(
        {
            **members,
            "id": row.token_digest,
            "current": row.token_digest == current,
            "stepped_up": service.is_stepped_up(row, now, step_up_s=reception.settings.step_up_s),
        }
    )


def _provider(reception: Reception) -> oidc.Provider:
    if reception.provider is None:
        raise NotFound("People do not sign in with an identity provider here.")
    return reception.provider


def _person_of_note(
    reception: Reception, noted: dict[str, Any], *, session: str | None, now: datetime
) -> tables.Person | None:
    """The person who began: of the session that is to be stepped up, or of the invitation."""
    with reception.database.reading() as reading:
        if noted["purpose"] == "enrol":
            return service.invited(reading, noted["invitation"], now=now)
        if noted["purpose"] == "sign_in":
            return None
        row = tables.person_session(reading, noted["session"])
        if row is None or session is None or not hmac.compare_digest(session, row.token_digest):
            raise Unauthenticated("The session has ended. Sign in again.", code="session_ended")
        return tables.person(reading, row.person)


def _person_of(
    reception: Reception, identity: oidc.Identity, noted: dict[str, Any], known: tables.Person | None
) -> tables.Person | None:
    """Whom an identity means: by its subject, by the invitation that was brought, or by the invited address."""
    with reception.database.reading() as reading:
        linked = tables.person_with_subject(reading, issuer=identity.issuer, subject=identity.subject)
        if noted["purpose"] == "step_up":
            if linked is None or known is None or linked.id != known.id:
                raise oidc.ProviderRefused("The provider's account is another person's.", code="another_person")
            return linked
        if noted["purpose"] == "enrol":
            if linked is not None:
                raise oidc.ProviderRefused("The provider's account is linked to a person.", code="already_linked")
            return known
        if linked is not None:
            return linked
        invited = tables.person_with_email(reading, identity.email) if identity.email else None
        return invited if invited is not None and invited.status == "invited" else None


def _check_state(noted: dict[str, Any], answer: schemas.OidcAnswer) -> None:
    if not hmac.compare_digest(str(noted["state"]).encode(), answer.state.get_secret_value().encode()):
        raise oidc.ProviderRefused("The answer belongs to another request.", code="wrong_state")


def _check_identity(identity: oidc.Identity, noted: dict[str, Any], person: tables.Person | None) -> None:
    if person is None:
        raise oidc.ProviderRefused("The provider's account is not linked to a person here.", code="not_linked")
    if person.status == "disabled":
        raise oidc.ProviderRefused("The account is disabled.", code="disabled")
    if not identity.second_factor:
        raise oidc.ProviderRefused("The provider does not say that a second factor was used.", code="no_second_factor")
    if noted["purpose"] == "sign_in" and person.status == "invited" and not identity.email_verified:
        raise oidc.ProviderRefused("The provider has not verified the e-mail address.", code="email_not_verified")
    if noted["purpose"] == "step_up" and (identity.authenticated_at or 0) < noted["began"] - oidc.CLOCK_SKEW_S:
        raise oidc.ProviderRefused("The provider did not ask for the sign-in again.", code="not_again")


def _refused(visit: Visit, code: str) -> LinkageError:
    _log.warning("sign_in_refused", code=code, request_id=visit.request_id)
    return _sign_in_refused()


def _sign_in_refused() -> Unauthenticated:
    return Unauthenticated(
        "E-mail address, password or code is not right, or the account has to wait after too many attempts. Wait for "
        "the next code and try again; a signatory or administrator of your organisation can send a new link.",
        code="sign_in_refused",
    )
