"""Agreements: draft, propose, sign, amend, review, suspend, end.

A change says which state of the agreement it is meant for (`If-Match`): what is changed is read first, and a change by
somebody else in between is a `StateConflictError`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from linkage_client._protocol import path_of
from linkage_client.errors import AgreementMismatchError, UnexpectedAnswerError
from linkage_client.keys import SigningKey, document_digest, sign_agreement
from linkage_client.models import Agreement, AgreementVersion
from linkage_client.resources._base import Listing, Resource, parsed


class Agreements(Resource):
    """Information sharing protocols in versions."""

    __slots__ = ()

    def create(self, *, document: Mapping[str, Any], idempotency_key: str | None = None) -> Agreement:
        """A new agreement in state draft. The caller's organisation must be a party or the linkage unit."""
        body = {"document": dict(document)}
        return self._post(path_of("agreements"), body, Agreement, idempotency_key=idempotency_key)

    def list(self, *, limit: int | None = None) -> Listing[Agreement]:
        """The agreements that the caller may see."""
        return self._items(path_of("agreements"), Agreement, limit=limit)

    def get(self, *, agreement_id: str) -> Agreement:
        """One agreement, without its text."""
        return self._get(path_of("agreements", agreement_id), Agreement)

    def version(self, *, agreement_id: str, version: int) -> AgreementVersion:
        """One version of an agreement with its text and signatures."""
        return self._get(path_of("agreements", agreement_id, "versions", version), AgreementVersion)

    def schema(self) -> Mapping[str, Any]:
        """The JSON Schema of agreement documents that the service publishes. Needs no log-in.

        Raises:
            UnexpectedAnswerError: it is no JSON object.
        """
        answer = self._transport.send("GET", path_of("agreement-schema"), public=True)
        schema = answer.json()
        if not isinstance(schema, dict):
            raise UnexpectedAnswerError(
                "The service does not publish a JSON Schema. Check its address.", request_id=answer.request_id
            )
        return schema

    def propose(self, *, agreement_id: str, version: int) -> Agreement:
        """Make a version immutable and put it to the parties for signature."""
        of = path_of("agreements", agreement_id, "versions", version)
        return self._post(f"{of}:propose", {}, Agreement, headers=self._unchanged(of))

    def amend(self, *, agreement_id: str, document: Mapping[str, Any]) -> Agreement:
        """Draft the next version; the present one stays in force until every party has signed the new one."""
        of = path_of("agreements", agreement_id)
        return self._post(f"{of}/versions", {"document": dict(document)}, Agreement, headers=self._unchanged(of))

    def replace_draft(self, *, agreement_id: str, version: int, document: Mapping[str, Any]) -> Agreement:
        """Put another document in the place of a draft."""
        of = path_of("agreements", agreement_id, "versions", version)
        body = {"document": dict(document)}
        return parsed(self._transport.send("PUT", of, json_body=body, headers=self._unchanged(of)), Agreement)

    def withdraw(self, *, agreement_id: str, version: int) -> None:
        """Take back a version that not all have signed. A first draft goes together with its agreement."""
        of = path_of("agreements", agreement_id, "versions", version)
        self._transport.send("DELETE", of, headers=self._unchanged(of))

    def suspend(self, *, agreement_id: str, reason: str) -> Agreement:
        """Stop everything under an agreement until it is reinstated. Role: officer, or a party's signatory."""
        return self._move(agreement_id, "suspend", {"reason": reason})

    def reinstate(self, *, agreement_id: str, reason: str) -> Agreement:
        """End a suspension. Role: officer."""
        return self._move(agreement_id, "reinstate", {"reason": reason})

    def review(self, *, agreement_id: str, passed: bool, review_by: datetime, findings: str) -> Agreement:
        """Record a review: whether the sharing goes on, and when the next review is due. Role: officer."""
        body = {"passed": passed, "review_by": review_by.isoformat(), "findings": findings}
        return self._move(agreement_id, "review", body)

    def terminate(self, *, agreement_id: str, reason: str) -> Agreement:
        """End an agreement with all its versions, for good. Role: officer, or a party's signatory."""
        return self._move(agreement_id, "terminate", {"reason": reason})

    def sign(
        self,
        *,
        agreement_id: str,
        version: int,
        signing_key: SigningKey,
        expected_digest: str | None = None,
    ) -> Agreement:
        """Sign a proposed version for the caller's organisation; the last party's signature makes it active.

        The digest is computed here from the text that the service hands out, so that the signature cannot cover
        another text. `expected_digest` (hex) is that of the text which the signatory has read, if it came another way.

        Raises:
            AgreementMismatchError: the text, the digest that the service states and `expected_digest` differ.
        """
        proposed = self.version(agreement_id=agreement_id, version=version)
        digest = document_digest(proposed.document)
        if proposed.digest != digest:
            raise AgreementMismatchError(
                "The service states a digest that is not that of the text it hands out. Nothing was signed. "
                "Tell the linkage unit and the other parties.",
            )
        if expected_digest is not None and expected_digest.lower() != digest:
            raise AgreementMismatchError(
                f"The text at the service has digest {digest}, not the expected one. Nothing was signed. "
                "Read this version before you sign it.",
            )
        body = {"digest": digest, "signature": sign_agreement(digest=digest, signing_key=signing_key)}
        return self._post(path_of("agreements", agreement_id, "versions", version, "signatures"), body, Agreement)

    def _move(self, agreement_id: str, verb: str, body: Mapping[str, Any]) -> Agreement:
        of = path_of("agreements", agreement_id)
        return self._post(f"{of}:{verb}", body, Agreement, headers=self._unchanged(of))

    def _unchanged(self, path: str) -> dict[str, str]:
        """The header that makes a change hold only for the state that is there now."""
        answer = self._transport.send("GET", path)
        tag = answer.headers.get("etag")
        if tag is None:
            raise UnexpectedAnswerError(
                "The service does not say which state of the agreement it hands out, so nothing was changed. "
                "Check whether a proxy takes the ETag away, and whether client and service are of matching versions.",
                status=answer.status,
                request_id=answer.request_id,
            )
        return {"If-Match": tag}
