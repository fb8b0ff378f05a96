"""Sharing the linkage secret through the service: key cards, comparisons, sealed envelopes, confirmations, epochs.

These are the requests only. What makes them safe (checking cards, comparing the code, sealing and opening) happens on
this machine, in `linkage_client.exchange`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from linkage_client._protocol import path_of
from linkage_client.models import Envelopes, KeyExchange, PostedEnvelope, PublishedKeyCard
from linkage_client.resources._base import Resource, parsed

EpochReason = Literal["suspected_leak", "planned"]


class Keys(Resource):
    """What providers of a project exchange to have one secret, none of which lets the service read it."""

    __slots__ = ()

    def publish_card(self, *, organisation_id: str, document: Mapping[str, Any]) -> PublishedKeyCard:
        """Publish the organisation's key card; the one before is superseded. Role: analyst.

        The same card again changes nothing. Another one makes every comparison of codes void in all projects of the
        organisation.
        """
        path = path_of("organisations", organisation_id, "key-card")
        return parsed(self._transport.send("PUT", path, json_body=dict(document)), PublishedKeyCard)

    def card(self, *, organisation_id: str) -> PublishedKeyCard:
        """The present key card of an organisation.

        Raises:
            NotFoundError: it has published none, or is not to be seen.
        """
        return self._get(path_of("organisations", organisation_id, "key-card"), PublishedKeyCard)

    def exchange(self, *, project_id: str) -> KeyExchange:
        """Where the providers of a project are."""
        return self._get(path_of("projects", project_id, "key-exchange"), KeyExchange)

    def note_comparison(self, *, project_id: str, epoch: int, keyset_sha256: str) -> KeyExchange:
        """Say that this provider's people have compared the safety code of this keyset. Role: analyst.

        It is a note for the others: no client goes by it.
        """
        body = {"epoch": epoch, "keyset_sha256": keyset_sha256}
        return self._post(path_of("projects", project_id, "key-comparisons"), body, KeyExchange)

    def post_envelopes(
        self,
        *,
        project_id: str,
        epoch: int,
        keyset_sha256: str,
        check_value: str,
        envelopes: Sequence[Mapping[str, Any]],
    ) -> KeyExchange:
        """Send sealed envelopes to other providers, and confirm that the caller holds the secret. Role: analyst.

        Raises:
            StateConflictError: `other_epoch`, `other_keyset`, `already_shared` (another provider was first),
                `not_confirmed` or `other_secret`.
        """
        body = {
            "epoch": epoch,
            "keyset_sha256": keyset_sha256,
            "check_value": check_value,
            "envelopes": [dict(envelope) for envelope in envelopes],
        }
        return self._post(path_of("projects", project_id, "key-envelopes"), body, KeyExchange)

    def envelopes(self, *, project_id: str) -> list[PostedEnvelope]:
        """The envelopes for the caller in the present key epoch. The retrieval is recorded."""
        return self._get(path_of("projects", project_id, "key-envelopes"), Envelopes).items

    def confirm(self, *, project_id: str, epoch: int, check_value: str) -> KeyExchange:
        """Show that the caller holds the secret of an epoch, without saying anything about it. Role: analyst.

        Raises:
            StateConflictError: `other_secret` if it is not the one that the others hold; `other_epoch`.
        """
        body = {"epoch": epoch, "check_value": check_value}
        return self._post(path_of("projects", project_id, "key-confirmations"), body, KeyExchange)

    def open_epoch(
        self, *, project_id: str, reason: EpochReason, expected_epoch: int, idempotency_key: str | None = None
    ) -> KeyExchange:
        """Close the present key epoch: all providers share a new secret and encode again. Role: analyst or officer.

        Raises:
            StateConflictError: `other_epoch`: `expected_epoch` is not the present one.
        """
        path = path_of("projects", project_id, "key-epochs")
        body = {"reason": reason, "expected_epoch": expected_epoch}
        return self._post(path, body, KeyExchange, idempotency_key=idempotency_key)
