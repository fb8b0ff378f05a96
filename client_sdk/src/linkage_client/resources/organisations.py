"""Organisations: who takes part, and which machines speak for them."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from linkage_client._protocol import path_of
from linkage_client.keys import SigningKey, client_description, sign_registration, thumbprint
from linkage_client.models import Client, ClientKey, Invitation, Organisation, Person, PersonInvitation, Registration
from linkage_client.resources._base import Listing, Model, Resource, parsed


class Organisations(Resource):
    """Organisations and their clients."""

    __slots__ = ()

    def create(self, *, name: str, idempotency_key: str | None = None) -> Organisation:
        """Record a new organisation, which then needs an invitation. Role: administrator."""
        return self._post(path_of("organisations"), {"name": name}, Organisation, idempotency_key=idempotency_key)

    def list(self, *, limit: int | None = None) -> Listing[Organisation]:
        """The organisations that the caller may see."""
        return self._items(path_of("organisations"), Organisation, limit=limit)

    def get(self, *, organisation_id: str) -> Organisation:
        """One organisation."""
        return self._get(path_of("organisations", organisation_id), Organisation)

    def invite(self, *, organisation_id: str, idempotency_key: str | None = None) -> Invitation:
        """A single-use invitation, shown this once. Role: administrator."""
        path = path_of("organisations", organisation_id, "invitations")
        return self._post(path, {}, Invitation, idempotency_key=idempotency_key)

    def register(
        self,
        *,
        invitation: str,
        signing_key: SigningKey,
        client_key: SigningKey,
        client_name: str,
        roles: Sequence[str],
    ) -> Registration:
        """Redeem an invitation: publish the organisation's signing key and its first client. Needs no log-in."""
        client = client_description(name=client_name, client_key=client_key, roles=roles)
        signature = sign_registration(invitation=invitation, signing_key=signing_key, client=client)
        body = {
            "invitation": invitation,
            "signing_key": signing_key.public_jwk,
            "client": client,
            "signature": signature,
        }
        # An invitation works once. The key follows from the content, so that a registration whose answer was lost can
        # be repeated, even by another process.
        headers = {"Idempotency-Key": hashlib.sha256(signature.encode()).hexdigest()}
        return self._post(path_of("registrations"), body, Registration, public=True, headers=headers)

    def add_client(
        self,
        *,
        organisation_id: str,
        name: str,
        public_jwk: Mapping[str, str],
        roles: Sequence[str],
        idempotency_key: str | None = None,
    ) -> Client:
        """Admit another machine of the caller's own organisation. Role: signatory."""
        body = {"name": name, "jwk": dict(public_jwk), "roles": [*roles]}
        path = path_of("organisations", organisation_id, "clients")
        return self._post(path, body, Client, idempotency_key=idempotency_key)

    def clients(self, *, organisation_id: str, limit: int | None = None) -> Listing[Client]:
        """The machines of an organisation."""
        return self._items(path_of("organisations", organisation_id, "clients"), Client, limit=limit)

    def revoke_client(self, *, organisation_id: str, client_id: str) -> None:
        """Shut a machine out, from its next request on."""
        self._transport.send("DELETE", path_of("organisations", organisation_id, "clients", client_id))

    def invite_person(
        self,
        *,
        organisation_id: str,
        name: str,
        email: str,
        roles: Sequence[str],
        idempotency_key: str | None = None,
    ) -> PersonInvitation:
        """A single-use link for a new person of the organisation, shown this once. Role: signatory or administrator."""
        body = {"name": name, "email": email, "roles": [*roles]}
        path = path_of("organisations", organisation_id, "people")
        return self._post(path, body, PersonInvitation, idempotency_key=idempotency_key)

    def people(self, *, organisation_id: str, limit: int | None = None) -> Listing[Person]:
        """The people of the caller's own organisation. Role: signatory or administrator."""
        return self._items(path_of("organisations", organisation_id, "people"), Person, limit=limit)

    def invite_person_again(
        self, *, organisation_id: str, person_id: str, idempotency_key: str | None = None
    ) -> PersonInvitation:
        """A new link: for a lost one, a lost second factor, or a forgotten password. What they had stops working."""
        path = path_of("organisations", organisation_id, "people", person_id, "invitations")
        return self._post(path, {}, PersonInvitation, idempotency_key=idempotency_key)

    def change_roles(self, *, organisation_id: str, person_id: str, roles: Sequence[str]) -> Person:
        """Give a person other roles; their sessions end."""
        path = path_of("organisations", organisation_id, "people", person_id, "roles")
        return parsed(self._transport.send("PUT", path, json_body={"roles": [*roles]}), Person)

    def disable_person(self, *, organisation_id: str, person_id: str, idempotency_key: str | None = None) -> Person:
        """Shut a person out, from their next request on."""
        path = path_of("organisations", organisation_id, "people", person_id) + ":disable"
        return self._post(path, {}, Person, idempotency_key=idempotency_key)

    def enable_person(self, *, organisation_id: str, person_id: str, idempotency_key: str | None = None) -> Person:
        """Let a person in again."""
        path = path_of("organisations", organisation_id, "people", person_id) + ":enable"
        return self._post(path, {}, Person, idempotency_key=idempotency_key)

    def end_sessions(self, *, organisation_id: str, person_id: str) -> None:
        """End every session of a person, who can sign in again."""
        path = path_of("organisations", organisation_id, "people", person_id) + ":end-sessions"
        self._transport.send("POST", path, json_body={})

    def client_keys(self, *, organisation_id: str, client_id: str) -> Listing[ClientKey]:
        """The keys of a machine, oldest first. For the machine itself, or a signatory of its organisation."""
        return self._items(_keys(organisation_id, client_id), ClientKey)

    def add_client_key(self, *, organisation_id: str, client_id: str, public_jwk: Mapping[str, str]) -> ClientKey:
        """Register a further key of a machine, which works beside the others.

        Registering the same key again, also from another process, gives the same answer.
        """
        body = {"jwk": dict(public_jwk)}
        return self._post(
            _keys(organisation_id, client_id), body, ClientKey, idempotency_key=f"key-{thumbprint(public_jwk)}"
        )

    def revoke_client_key(self, *, organisation_id: str, client_id: str, key_thumbprint: str) -> None:
        """Make a key worthless, with the tokens issued for it. The last key of a machine stays."""
        path = path_of("organisations", organisation_id, "clients", client_id, "keys", key_thumbprint)
        self._transport.send("DELETE", path)

    def record_assurance(
        self, *, organisation_id: str, status: str, expires_at: datetime | None, evidence: str
    ) -> Organisation:
        """Record what an organisation has shown of its security. Role: administrator or officer of the linkage unit.

        Args:
            organisation_id: whose it is.
            status: `none`, `approaching_standards`, `standards_met` or `standards_exceeded`.
            expires_at: until when it holds; None with the status `none`.
            evidence: what was seen and where. It stands in the ledger.
        """
        until = None if expires_at is None else expires_at.isoformat()
        body = {"status": status, "expires_at": until, "evidence": evidence}
        path = path_of("organisations", organisation_id, "assurance")
        return parsed(self._transport.send("PUT", path, json_body=body), Organisation)

    def warn(self, *, organisation_id: str, reason: str, agreement_id: str | None = None) -> Organisation:
        """Put a warning into the ledger. Role: officer of the linkage unit.

        With `agreement_id`, here and below, the sanction must be on that agreement's ladder.
        """
        return self._sanction(path_of("organisations", f"{organisation_id}:warn"), Organisation, reason, agreement_id)

    def suspend(self, *, organisation_id: str, reason: str, agreement_id: str | None = None) -> Organisation:
        """Stop everything that an organisation does, from its next request on. Role: officer of the linkage unit."""
        path = path_of("organisations", f"{organisation_id}:suspend")
        return self._sanction(path, Organisation, reason, agreement_id)

    def reinstate(self, *, organisation_id: str, reason: str, agreement_id: str | None = None) -> Organisation:
        """Lift the suspension of an organisation. Role: officer of the linkage unit."""
        path = path_of("organisations", f"{organisation_id}:reinstate")
        return self._sanction(path, Organisation, reason, agreement_id)

    def warn_client(
        self, *, organisation_id: str, client_id: str, reason: str, agreement_id: str | None = None
    ) -> Client:
        """Put a warning of one machine into the ledger. Role: officer of the linkage unit."""
        path = path_of("organisations", organisation_id, "clients", f"{client_id}:warn")
        return self._sanction(path, Client, reason, agreement_id)

    def suspend_client(
        self, *, organisation_id: str, client_id: str, reason: str, agreement_id: str | None = None
    ) -> Client:
        """Stop one machine, from its next request on. Role: officer of the linkage unit."""
        path = path_of("organisations", organisation_id, "clients", f"{client_id}:suspend")
        return self._sanction(path, Client, reason, agreement_id)

    def reinstate_client(
        self, *, organisation_id: str, client_id: str, reason: str, agreement_id: str | None = None
    ) -> Client:
        """Lift the suspension of one machine. Role: officer of the linkage unit."""
        path = path_of("organisations", organisation_id, "clients", f"{client_id}:reinstate")
        return self._sanction(path, Client, reason, agreement_id)

    def _sanction(self, path: str, model: type[Model], reason: str, agreement_id: str | None) -> Model:
        return self._post(path, {"reason": reason, "agreement": agreement_id}, model)


def _keys(organisation_id: str, client_id: str) -> str:
    return path_of("organisations", organisation_id, "clients", client_id, "keys")
