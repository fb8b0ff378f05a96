"""Wire models of certificates."""

from typing import Annotated, Any

from pydantic import Field

from linkage_service.wire import Output, Timestamp


class CertificateSummary(Output):
    """A certificate in a list."""

    id: str
    project: str
    items: Annotated[int, Field(description="How many deletions it certifies.")]
    created_at: Timestamp


class Certificate(CertificateSummary):
    """A certificate of disposal."""

    document: Annotated[
        dict[str, Any],
        Field(description="What was deleted, when it was due, when and how it was deleted, and the ledger events."),
    ]
    note: Annotated[
        str,
        Field(
            description="The document in canonical JSON (RFC 8785) as a C2SP signed note by the log's key: verify this."
        ),
    ]
