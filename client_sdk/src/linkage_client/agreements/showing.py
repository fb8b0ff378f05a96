"""What a page or a terminal shows of an agreement beside its words: which version, its digest, who has signed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from linkage_client.agreements.signatures import Checked, SignedDocument, check_signatures, checked_digest
from linkage_client.agreements.words import Names, Said, say


@dataclass(frozen=True, slots=True)
class Shown:
    """An agreement ready to be shown. `digest` was computed from the text that `said` says."""

    said: Said
    digest: str
    signatures: tuple[Checked, ...]
    names: Names
    made_by: str
    made_at: datetime
    standing: str = ""
    """Version and state, for a document from a service."""
    about: Mapping[str, Any] = field(default_factory=dict)


def shown(signed: SignedDocument, *, made_by: str, made_at: datetime) -> Shown:
    """Puts a document into words, with its digest and signatures checked.

    Raises:
        AgreementInvalidError: it cannot be said in full.
        AgreementMismatchError: the stated digest is not that of the text.
    """
    names = Names(signed.names)
    about = signed.about
    version, state = about.get("version"), about.get("state")
    return Shown(
        said=say(signed.document, names),
        digest=checked_digest(signed),
        signatures=check_signatures(signed),
        names=names,
        made_by=made_by,
        made_at=made_at,
        standing=f"Version {version}, {state}" if version is not None else "A draft in a file",
        about=about,
    )


def signature_in_words(item: Checked, names: Names) -> str:
    """One party's signature."""
    key = f", key {item.thumbprint}" if item.thumbprint else ""
    return f"{names.of(item.organisation)}: {item.in_words}{key}"
