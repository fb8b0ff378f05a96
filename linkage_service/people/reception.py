"""What enrolment and sign-in stand on, built once when the service starts, and notes that a browser keeps for them."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from linkage_ledger import events
from linkage_service.audit.catalogue import EventType
from linkage_service.audit.log import Entry, Log, body_of, entry
from linkage_service.audit.unit import unit_of_work
from linkage_service.clock import Clock
from linkage_service.database import Database
from linkage_service.errors import Unauthenticated
from linkage_service.people import tables
from linkage_service.people.oidc import Provider
from linkage_service.people.passwords import Passwords
from linkage_service.settings import Settings
from linkage_service.storage import BlobStore, BlobTampered

# Long enough for the longest members, so that the length of a note does not say what is in it.
_NOTE_BYTES = 768


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """The parts of enrolment and sign-in.

    Attributes:
        issuer: gives the address of this service.
        provider: the identity provider, if one is configured.
    """

    database: Database
    log: Log
    clock: Clock
    blobs: BlobStore = field(repr=False)
    passwords: Passwords = field(repr=False)
    settings: Settings
    issuer: Callable[[], str]
    provider: Provider | None

    def note(self, kind: str, members: dict[str, Any], *, until: datetime) -> str:
        """Seals what the next step needs, for the browser to keep: nothing is stored for people who may be nobody."""
        text = json.dumps({**members, "until": until.timestamp()}).encode().ljust(_NOTE_BYTES)
        sealed = self.blobs.seal(text, context=b"note/" + kind.encode())
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def noted(self, kind: str, note: str) -> dict[str, Any]:
        """Opens a note of the same kind.

        Raises:
            Unauthenticated: not one of this service, or its time is over.
        """
        try:
            sealed = base64.urlsafe_b64decode(note + "=" * (-len(note) % 4))
            members: dict[str, Any] = json.loads(self.blobs.unseal(sealed, context=b"note/" + kind.encode()))
        except (binascii.Error, ValueError, BlobTampered):
            members = {"until": 0}
        if datetime.fromtimestamp(members["until"], UTC) <= self.clock():
            raise Unauthenticated("This took too long, or was begun elsewhere. Begin again.", code="begin_again")
        return members

    def keep_second_factor(self, person: tables.Person, secret: bytes) -> None:
        """Encrypts the shared secret of a person's second factor into their row."""
        person.totp_sealed = self.blobs.seal(secret, context=second_factor_context(person.id))

    def second_factor(self, person: tables.Person) -> bytes | None:
        """The shared secret of a person's second factor."""
        if person.totp_sealed is None:
            return None
        return self.blobs.unseal(person.totp_sealed, context=second_factor_context(person.id))


def second_factor_context(person_id: str) -> bytes:
    """What binds the sealed second factor to its person."""
    return b"person/second-factor/" + person_id.encode()


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who has no session yet.

    Attributes:
        now: the time of everything that it does.
        request_id: of the request.
        source: the address it came from.
        browser: family of the browser, for the person's list of sessions.
    """

    now: datetime
    request_id: str
    source: str
    browser: str

    def event(
        self,
        event_type: EventType,
        person: tables.Person,
        *,
        action: str,
        method: str | None = None,
        session: str | None = None,
        code: str = "ok",
    ) -> Entry:
        """The entry of what the visit came to.

        A refusal is about the account and by nobody: whoever failed to sign in is not shown to be that person.
        """
        refused = code != "ok"
        actor = events.Actor("unknown" if refused else "person", None if refused else person.id, person.organisation)
        return entry(
            now=self.now,
            event_type=event_type,
            actor=actor,
            authn=events.Authn(method, session=session) if method else None,
            resource=events.Resource("person", person.id),
            action=action,
            outcome=events.Outcome("refused" if refused else "success", code),
            request_id=self.request_id,
            source=self.source,
            body=body_of(person=person.name),
        )


def record_refusal(reception: Reception, visit: Visit, person: tables.Person, *, action: str, code: str) -> None:
    """Writes that somebody was refused who came as a person that is known here."""
    with unit_of_work(database=reception.database, log=reception.log, now=visit.now) as unit:
        unit.record(visit.event(EventType.PERSON_REFUSED, person, action=action, code=code))
