"""Who calls: a machine of an organisation, a person in a session, or the service's own worker."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from linkage_ledger import events
from linkage_service.access.entities import Attribute, Entity, Reference, organisation_reference

# In order: each includes those before it. The agreement document and the policy's schema have the same.
ASSURANCE_LEVELS = ("none", "approaching_standards", "standards_met", "standards_exceeded")


@dataclass(frozen=True, slots=True)
class OrganisationFacts:
    """What the policy knows of an organisation, as it stands in the database now.

    Attributes:
        id: its id.
        kind: `linkage_unit` or `partner`.
        suspended: whether a sanction is in force.
        assurance: status in the security assurance scheme, one of `ASSURANCE_LEVELS`.
        assurance_expires: until when it holds; None where nothing is recorded.
    """

    id: str
    kind: str
    suspended: bool = False
    assurance: str = "none"
    assurance_expires: datetime | None = None

    def entity(self) -> Entity:
        """The organisation as the policy sees it."""
        attributes: dict[str, Attribute] = {
            "kind": self.kind,
            "suspended": self.suspended,
            "assurance": ASSURANCE_LEVELS.index(self.assurance),
        }
        if self.assurance_expires is not None:
            attributes["assurance_expires"] = self.assurance_expires
        return Entity(organisation_reference(self.id), attributes, key=self)


class Actor(Protocol):
    """Whoever a decision is about."""

    @property
    def reference(self) -> Reference:
        """The principal."""

    @property
    def organisation(self) -> str | None:
        """The organisation that it acts for; None for the service itself."""

    def entities(self) -> tuple[Entity, ...]:
        """The principal, and what the policy reads through it."""


@dataclass(frozen=True, slots=True)
class _OfOrganisation:
    """What a client and a person have in common."""

    id: str
    facts: OrganisationFacts
    roles: frozenset[str]

    @property
    def organisation(self) -> str:
        """Id of the organisation that it acts for."""
        return self.facts.id

    @property
    def organisation_kind(self) -> str:
        """`linkage_unit` or `partner`."""
        return self.facts.kind

    @property
    def oversees(self) -> bool:
        """Whether the linkage unit's own duties let it know that things exist."""
        return self.facts.kind == "linkage_unit" and bool(self.roles & {"officer", "administrator"})


@dataclass(frozen=True, slots=True)
class ClientCaller(_OfOrganisation):
    """A machine client whose token was checked.

    Attributes:
        key_thumbprint: of the key that its token was issued for (RFC 7638).
        key_registered: when that key was registered.
        revoked: whether the client or that key was revoked.
        suspended: whether a sanction on the client is in force.
    """

    key_thumbprint: str
    key_registered: datetime
    revoked: bool = False
    suspended: bool = False

    @property
    def reference(self) -> Reference:
        """The principal."""
        return Reference("Client", self.id)

    def entities(self) -> tuple[Entity, ...]:
        """The client and its organisation."""
        client = Entity(
            self.reference,
            {
                "organisation": organisation_reference(self.organisation),
                "roles": self.roles,
                "revoked": self.revoked,
                "suspended": self.suspended,
                "key_registered": self.key_registered,
            },
        )
        return client, self.facts.entity()

    @property
    def actor(self) -> events.Actor:
        """Who acted, for the ledger."""
        return events.Actor("client", self.id, self.organisation)

    @property
    def authn(self) -> events.Authn:
        """How it was recognised, for the ledger."""
        return events.Authn("private_key_jwt", key_thumbprint=self.key_thumbprint)


@dataclass(frozen=True, slots=True)
class PersonCaller(_OfOrganisation):
    """A person whose session was checked.

    Attributes:
        name: as it is now; for the body of ledger events only.
        session: digest of the session's token, which names the session and opens nothing.
        method: how they signed in, for the ledger: `password+totp` or `oidc`.
        disabled: whether the account is closed.
        second_factor: whether the session was opened with a second factor.
        stepped_up: whether the second factor was given again a short while ago.
    """

    name: str
    session: str
    method: str
    disabled: bool
    second_factor: bool
    stepped_up: bool

    @property
    def reference(self) -> Reference:
        """The principal."""
        return Reference("Person", self.id)

    def entities(self) -> tuple[Entity, ...]:
        """The person and their organisation."""
        person = Entity(
            self.reference,
            {
                "organisation": organisation_reference(self.organisation),
                "roles": self.roles,
                "disabled": self.disabled,
                "second_factor": self.second_factor,
                "stepped_up": self.stepped_up,
            },
        )
        return person, self.facts.entity()

    @property
    def actor(self) -> events.Actor:
        """Who acted, for the ledger."""
        return events.Actor("person", self.id, self.organisation)

    @property
    def authn(self) -> events.Authn:
        """How they were recognised, for the ledger."""
        return events.Authn(self.method, session=self.session)


Caller: TypeAlias = ClientCaller | PersonCaller


@dataclass(frozen=True, slots=True)
class WorkerActor:
    """The service's worker, which carries out what somebody else asked for."""

    organisation: None = None

    @property
    def reference(self) -> Reference:
        """The principal."""
        return Reference("System", "worker")

    def entities(self) -> tuple[Entity, ...]:
        """The worker alone."""
        return (Entity(self.reference, {}),)
