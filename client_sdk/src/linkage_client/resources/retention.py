"""Retention: closing projects, and certificates of what was deleted."""

import json
from typing import Any

from linkage_client._protocol import path_of
from linkage_client.errors import FileFormatError
from linkage_client.models import Certificate, CertificateSummary, Project
from linkage_client.resources._base import Listing, Resource
from linkage_ledger.errors import NoteError
from linkage_ledger.notes import VerifierKey, open_note


class Retention(Resource):
    """What becomes of things at the end."""

    __slots__ = ()

    def close_project(self, *, project_id: str, idempotency_key: str | None = None) -> Project:
        """Cancel unfinished runs and delete every provider's encodings at once; results stay until their date."""
        return self._post(path_of("projects", f"{project_id}:close"), {}, Project, idempotency_key=idempotency_key)

    def certificates(self, *, project_id: str, limit: int | None = None) -> Listing[CertificateSummary]:
        """Certificates of what was deleted of a project."""
        return self._items(path_of("projects", project_id, "certificates"), CertificateSummary, limit=limit)

    def certificate(self, *, certificate_id: str) -> Certificate:
        """One certificate with its signature (`verified_certificate` checks it). The retrieval is recorded."""
        return self._get(path_of("certificates", certificate_id), Certificate)


def verified_certificate(note: str, *, verifier_key: str) -> dict[str, Any]:
    """What a certificate of disposal says, once its signature is checked. Asks nobody.

    Args:
        note: the signed note, as `Certificate.note` has it.
        verifier_key: the log's public key, kept from before: one that came with the certificate proves nothing.

    Raises:
        FileFormatError: the signature does not hold, or what was signed is no certificate.
    """
    try:
        text = open_note(note, [VerifierKey.parse(verifier_key.strip())])
        document = json.loads(text)
    except NoteError as error:
        raise FileFormatError(f"The certificate does not hold. {error}") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("type") != "certificate_of_disposal":
        raise FileFormatError("This is signed by the log's key, and is no certificate of disposal.")
    return document
