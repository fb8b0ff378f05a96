"""What stands before every route: who calls is checked, the policy decides, and the ledger hears of it.

A route depends on `guard(Action.…)` or on `public`; a test enumerates all routes and fails for one that does neither.
The gate it is given runs the route's use case in one transaction in which it must decide, and writes down every
refusal.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Header, Request, Response
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials
from fastapi.security.http import HTTPBase
from pydantic import BaseModel
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool

from linkage_ledger import events
from linkage_service.access import bearer, idempotency, sessions
from linkage_service.access.actions import Action
from linkage_service.access.callers import Caller, PersonCaller
from linkage_service.access.decide import Circumstance, Decision, Policy, Resource
from linkage_service.access.entities import Attribute
from linkage_service.access.source import source_of
from linkage_service.access.tokens import TokenAuthority
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, Log, body_of, entry
from linkage_service.audit.tables import newest_time
from linkage_service.audit.unit import Acknowledged, UnitOfWork, unit_of_work
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import Invalid, LinkageError, NotFound, Refused
from linkage_service.places import Places
from linkage_service.throttle import Throttle, counted_for_page

Answer = TypeVar("Answer")
_access_token = HTTPBase(
    scheme="DPoP",
    scheme_name="client",
    description=(
        "An access token from the token endpoint, bound to a key (RFC 9449): `Authorization: DPoP <token>`, and in the "
        "header `DPoP` a proof for this one request, signed by that key."
    ),
    auto_error=False,
)
_session = APIKeyCookie(
    name=sessions.COOKIE,
    auto_error=False,
    scheme_name="session",
    description=f"A person's session. At a service on plain http on this machine it is `{sessions.LOOPBACK_COOKIE}`. "
    "What changes something must come from a page of the service: `Sec-Fetch-Site` or `Origin` say so.",
)


@dataclass(frozen=True, slots=True)
class Door:
    """What every gate needs, built once when the service starts.

    Attributes:
        load_client: finds the client of an access token with its organisation as they stand now, None for one that is
            not registered; and notes the proof that came with it, saying whether that was never seen before.
        load_person: finds the person of a session, by the digest of its token; None where there is no such session.
        touch_session: writes down that a session was used.
        issuer: gives the issuer string of this service.
        require_dpop: whether access tokens must be bound to a key of their holder.
        throttle: how much each caller may ask for.
        places: how many requests are worked at.
    """

    database: Database
    log: Log
    policy: Policy
    tokens: TokenAuthority
    clock: Clock
    load_client: bearer.LoadClient
    load_person: sessions.LoadPerson
    touch_session: sessions.TouchSession
    issuer: Callable[[], str]
    require_dpop: bool
    throttle: Throttle
    places: Places


class HasDoor(Protocol):
    """What the application's state offers to this module."""

    door: Door


class Operation:
    """One use case in progress: its transaction, its caller, and the decision it stands on."""

    def __init__(
        self,
        *,
        unit: UnitOfWork | None,
        session: Session,
        caller: Caller,
        now: datetime,
        gate: "Gate",
        key: idempotency.Key | None = None,
    ) -> None:
        self.session = session
        self.caller = caller
        self.now = now
        self.decision: Decision | None = None
        self.resource: Resource | None = None
        self._unit = unit
        self._gate = gate
        self._key = key

    @property
    def changes(self) -> bool:
        """Whether it may change something; if not its transaction only reads, and can lock nothing."""
        return self._unit is not None

    def require(self, resource: Resource, **context: Attribute) -> None:
        """Lets the policy decide on the route's action.

        Raises:
            NotFound: the caller may not know that the resource exists.
            Refused: with the elements of the agreement that say no.
        """
        caller = self.caller
        self.resource = resource
        at = Circumstance(now=self.now, newest=newest_time(self.session), source=self._gate.source)
        self.decision = self._gate.door.policy.decide(
            action=self._gate.action, caller=caller, resource=resource, at=at, context=context
        )
        if self.decision.allowed:
            # A kept answer is given again only to a caller who may still ask for it.
            if self._key and (kept := idempotency.find(self.session, self._key)):
                raise _Replay(kept)
            return
        if resource.visible_to is not None and caller.organisation not in resource.visible_to and not caller.oversees:
            raise NotFound(NotFound.HIDDEN)
        agreement = resource.agreement
        raise Refused(
            " ".join(f"{refusal.reason} {refusal.remedy}" for refusal in self.decision.refusals),
            agreement=agreement.reference if agreement else None,
            elements=self.decision.refusals,
        )

    def record(
        self,
        event_type: EventType,
        *,
        resource: events.Resource,
        under: Resource | None = None,
        purpose: str | None = None,
        counts: dict[str, int] | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Notes what this use case did.

        Args:
            event_type: from the catalogue.
            resource: what it was done to.
            under: where agreement and project are taken from; default: what was decided on.
            purpose: the purpose that was stated.
            counts: numbers that say how much, never about a person.
            detail: what else an officer needs to know, such as a stated reason: for the body, never about a data
                subject.
        """
        if self._unit is None:
            raise RuntimeError("a reading operation records nothing; use Gate.change or Gate.disclose")
        self._unit.record(
            self._gate.entry(
                self.now,
                event_type,
                resource=resource,
                under=under or self.resource,
                decision=self.decision,
                outcome=events.Outcome("success", "ok"),
                purpose=purpose,
                counts=counts,
                detail=detail,
            )
        )


class _Replay(Exception):
    """Leaves a transaction that has nothing to do."""

    def __init__(self, kept: idempotency.Kept) -> None:
        super().__init__()
        self.kept = kept


@dataclass(frozen=True, slots=True)
class Created:
    """An answer with the address of what was made."""

    body: BaseModel
    location: str


@dataclass(slots=True)
class Gate:
    """One request at the door.

    Who calls is found out when it is first asked for, which is before anything else is done: in the thread that goes on
    with the request. On the way to the route it would cost one more thread, a tenth of what a request costs.
    """

    door: Door
    action: Action
    request_id: str
    source: str
    route: str
    idempotency_key: str | None
    admit: Callable[[], Caller] | None
    admitted: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who calls, as they stand now.

        Raises:
            Unauthenticated: nobody who is known here.
            Limited: they asked for too much lately.
        """
        if self.admitted is None:
            if self.admit is None:
                raise RuntimeError("a gate that lets nobody in")
            self.admitted = self.admit()
            # It knows the request, which knows this gate.
            self.admit = None
        return self.admitted

    def read(self, query: Callable[[Operation], Answer]) -> Answer:
        """Runs a query that leaves no event, unless it is refused.

        What a GET does not find is no refusal; a request that would change something is recorded whatever stopped it.
        """
        with self.door.places.taken():
            return self._read(query, self.caller)

    def _read(self, query: Callable[[Operation], Answer], caller: Caller) -> Answer:
        with (
            self._recording_refusals(only_policy=self.route.startswith("GET ")) as track,
            self.door.database.reading() as session,
        ):
            operation = Operation(unit=None, session=session, caller=caller, now=self.door.clock(), gate=self)
            track(operation)
            answer = query(operation)
            _must_have_decided(operation)
            return answer

    def give_up_place(self) -> None:
        """Lets another request have this one's place: what follows waits for the store or the database for long."""
        self.door.places.leave()

    def perform(
        self, use_case: Callable[[Operation], Answer], *, key: idempotency.Key | None = None
    ) -> tuple[Answer, Acknowledged]:
        """Runs a use case in one transaction with its event; gives its answer and what the caller is told of it."""
        with self.door.places.taken():
            return self._perform(use_case, self.caller, key)

    def _perform(
        self, use_case: Callable[[Operation], Answer], caller: Caller, key: idempotency.Key | None
    ) -> tuple[Answer, Acknowledged]:
        with self._recording_refusals(only_policy=False) as track:
            now = self.door.clock()
            with unit_of_work(database=self.door.database, log=self.door.log, now=now) as unit:
                operation = Operation(unit=unit, session=unit.session, caller=caller, now=now, gate=self, key=key)
                track(operation)
                answer = use_case(operation)
                _must_have_decided(operation)
            return answer, unit.acknowledged

    def note(self, query: Callable[[Operation], BaseModel], record: Callable[[Operation], None]) -> Response:
        """Runs a query that holds up no writer, then records that it was made: before its answer leaves.

        It has no place meanwhile: to search a long log takes the database's time.
        """
        answer = self._read(query, self.caller)
        _, acknowledged = self.perform(record)
        return _render(answer, status=200, acknowledged=acknowledged)

    def change(
        self,
        use_case: Callable[[Operation], BaseModel | Created | None],
        *,
        status: int = 200,
        body: BaseModel | None = None,
    ) -> Response:
        """Runs a use case that changes something and renders its answer; an Idempotency-Key replays the stored answer.

        Args:
            use_case: what to do.
            status: HTTP status of success.
            body: the request's body, part of what an idempotency key is bound to.
        """
        if self.idempotency_key is None:
            answer, acknowledged = self.perform(use_case)
            return _render(answer, status=status, acknowledged=acknowledged)
        fingerprint = idempotency.fingerprint(self.route, body)
        key = idempotency.Key(client=self.caller.id, key=self.idempotency_key, fingerprint=fingerprint)
        try:
            return self._change_once(use_case, key, status=status)
        except _Replay as replay:
            kept = replay.kept
            headers = {**kept.headers, "Idempotency-Replayed": "true"}
            return Response(kept.body, status_code=kept.status, media_type="application/json", headers=headers)

    def _change_once(
        self, use_case: Callable[[Operation], BaseModel | Created | None], key: idempotency.Key, *, status: int
    ) -> Response:
        rendered: list[Response] = []

        def once(operation: Operation) -> None:
            response = _render(use_case(operation), status=status, acknowledged=None)
            idempotency.keep(operation.session, key, response, now=operation.now)
            rendered.append(response)

        _, acknowledged = self.perform(once, key=key)
        rendered[0].headers.update(acknowledged.headers)
        return rendered[0]

    def entry(  # noqa: D102 - see audit.log.entry
        self,
        now: datetime,
        event_type: EventType,
        *,
        resource: events.Resource,
        under: Resource | None,
        decision: Decision | None,
        outcome: events.Outcome,
        purpose: str | None = None,
        counts: dict[str, int] | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> Entry:
        agreement = under.agreement if under else None
        return entry(
            now=now,
            event_type=event_type,
            actor=self.caller.actor,
            authn=self.caller.authn,
            body=body_of(
                decision=decision.facts if decision else None,
                detail=detail,
                # The name as it is now: in years to come an id may lead nowhere.
                person=self.caller.name if isinstance(self.caller, PersonCaller) else None,
            ),
            agreement=agreement and events.AgreementRef(agreement.reference, agreement.version, agreement.digest),
            project=under.project if under else None,
            resource=resource,
            action=self.action.value,
            purpose=purpose,
            decision=decision and decision.for_ledger,
            outcome=outcome,
            counts=counts,
            request_id=self.request_id,
            source=self.source,
        )

    @contextmanager
    def _recording_refusals(self, *, only_policy: bool) -> Iterator[Callable[[Operation], None]]:
        tracked: list[Operation] = []
        try:
            yield tracked.append
        except LinkageError as error:
            operation = tracked[0] if tracked else None
            decided = operation is not None and operation.decision is not None and not operation.decision.allowed
            if decided or not only_policy:
                self.record_refusal(error, operation)
            raise

    def record_refusal(self, error: LinkageError, operation: Operation | None) -> None:
        """Writes a refusal in a transaction of its own: the one it refused was rolled back."""
        now = self.door.clock()
        resource = operation.resource if operation else None
        with unit_of_work(database=self.door.database, log=self.door.log, now=now) as unit:
            unit.record(
                self.entry(
                    now,
                    EventType(f"{self.action.noun}.refused"),
                    resource=events.Resource(resource.kind, resource.id)
                    if resource
                    else events.Resource(self.action.noun),
                    under=resource,
                    decision=operation.decision if operation else None,
                    outcome=events.Outcome(
                        "failed" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "refused", error.instance_code
                    ),
                )
            )


def _must_have_decided(operation: Operation) -> None:
    if operation.decision is None or not operation.decision.allowed:
        raise RuntimeError("a route answered without a decision of the policy")


def _render(answer: BaseModel | Created | None, *, status: int, acknowledged: Acknowledged | None) -> Response:
    headers = {} if acknowledged is None else acknowledged.headers
    if isinstance(answer, Created):
        headers["Location"] = answer.location
        answer = answer.body
    if answer is None:
        return Response(status_code=status, headers=headers)
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


class Guard:
    """The dependency of a route that acts for a signed-in client or person."""

    def __init__(self, action: Action) -> None:
        self.action = action

    async def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_access_token)],
        _: Annotated[str | None, Depends(_session)],
        idempotency_key: Annotated[
            str | None,
            Header(
                description="Makes a repeated POST safe: same key and body, same answer.", min_length=1, max_length=128
            ),
        ] = None,
    ) -> Gate:
        """Makes the gate, which the request knows for as long as nobody has gone through it."""
        state: HasDoor = request.app.state.service
        gate = Gate(
            door=state.door,
            action=self.action,
            request_id=request.state.request_id,
            source=source_of(request),
            route=f"{request.method} {request.url.path}",
            idempotency_key=idempotency_key if request.method == "POST" else None,
            admit=lambda: _admit(state.door, request, credentials, idempotency_key),
        )
        request.state.gate = gate
        return gate


async def enter(request: Request) -> None:
    """Has whoever calls admitted, if there is a gate: so that nobody else is told what is wrong with a request.

    Raises:
        LinkageError: they are not.
    """
    gate: Gate | None = getattr(request.state, "gate", None)
    if gate is not None:
        await run_in_threadpool(lambda: gate.caller)


def _admit(
    door: Door, request: Request, credentials: HTTPAuthorizationCredentials | None, idempotency_key: str | None
) -> Caller:
    # A session is for the console's pages. A request that carries a token is a machine's, whatever else it carries.
    if credentials is None and sessions.token_of(request, door.issuer()) is not None:
        caller: Caller = sessions.caller_of(door, request)
    else:
        caller = bearer.caller_of(door, request, credentials)
    door.throttle.caller(f"{caller.actor.kind}/{caller.actor.id}", counted=counted_for_page(request.scope))
    if idempotency_key is not None and not idempotency_key.isprintable():
        raise Invalid("The Idempotency-Key has characters that cannot be printed.")
    return caller


def guard(action: Action) -> Any:
    """Declares a route's action and gives the route its gate; annotate a parameter `Gate` with it."""
    return Depends(Guard(action))


async def public(request: Request) -> None:
    """The dependency that marks a route as open to anyone on purpose.

    Raises:
        Limited: something is to be done, and too much of that was asked for from the same address.
    """
    if request.method == "POST":
        state: HasDoor = request.app.state.service
        state.door.throttle.public(source_of(request))


PUBLIC = Depends(public)
