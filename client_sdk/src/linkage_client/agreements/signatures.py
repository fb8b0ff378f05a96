"""Whether every party has signed exactly this text, found out without believing the service about the text.

The digest is computed from the document, and each signature is checked with the party's key. The keys come from the
service where a party registered them, or from a bundle that holds them. So a service that lies about keys is not found
out here: compare the thumbprints with those that each organisation states by another way, and give them as `expected`.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from linkage_client.errors import AgreementMismatchError, FileFormatError
from linkage_client.keys import AGREEMENT_CONTEXT, document_digest, thumbprint

FORMAT: Final = "linkage-agreement-bundle/1"
State = Literal["valid", "missing", "no_key", "other_key", "wrong"]


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A document with what is needed to check its signatures.

    Attributes:
        document: the text.
        stated_digest: what the service, or the bundle, says that its digest is; hex.
        signatures: by organisation, base64url without padding.
        keys: by organisation, the registered public signing key (JWK).
        names: by organisation, what it is called; not part of what is signed.
        about: what else is known of it, such as id and version.
    """

    document: Mapping[str, Any]
    stated_digest: str
    signatures: Mapping[str, str]
    keys: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one party's signature, and the thumbprint (RFC 7638) of the key that it was checked with."""

    organisation: str
    state: State
    thumbprint: str | None

    @property
    def in_words(self) -> str:
        """The finding, for a person."""
        match self.state:
            case "valid":
                return "signed"
            case "missing":
                return "not signed"
            case "no_key":
                return "signed, but its key is not known"
            case "other_key":
                return "signed with another key than expected"
            case "wrong":
                return "the signature is not over this text, or not by this key"
            case _:
                assert_never(self.state)


def parties_of(document: Mapping[str, Any]) -> list[str]:
    """Ids of the organisations that a document names as parties, in its order."""
    element = document.get("recipients")
    parties = element.get("parties") if isinstance(element, Mapping) else None
    return [
        party["organisation"]
        for party in (parties if isinstance(parties, list) else [])
        if isinstance(party, Mapping) and isinstance(party.get("organisation"), str)
    ]


def providers_of(document: Mapping[str, Any]) -> list[str]:
    """Ids of the parties that a document names as providers, in its order."""
    element = document.get("recipients")
    parties = element.get("parties") if isinstance(element, Mapping) else None
    roles = {
        party.get("organisation"): party.get("roles")
        for party in (parties if isinstance(parties, list) else [])
        if isinstance(party, Mapping)
    }
    return [party for party in parties_of(document) if "provider" in (roles.get(party) or ())]


def checked_digest(signed: SignedDocument) -> str:
    """The digest of the text, computed here.

    Raises:
        AgreementMismatchError: it is not the one that is stated.
    """
    digest = document_digest(signed.document)
    if digest != signed.stated_digest:
        raise AgreementMismatchError(
            "The stated digest is not that of the text beside it. Trust neither. "
            "Tell the linkage unit and the other parties."
        )
    return digest


def check_signatures(signed: SignedDocument, *, expected: Mapping[str, str] | None = None) -> tuple[Checked, ...]:
    """Check the signature of every party over the digest of the text.

    Args:
        signed: the document, its signatures and keys.
        expected: thumbprints of signing keys, by organisation, as these stated them by another way.

    Raises:
        AgreementMismatchError: the stated digest is not that of the text.
    """
    message = AGREEMENT_CONTEXT + bytes.fromhex(checked_digest(signed))
    return tuple(_checked(signed, party, message, (expected or {}).get(party)) for party in parties_of(signed.document))


def require_all(signed: SignedDocument) -> None:
    """Refuse a document that not every party has signed.

    Raises:
        AgreementMismatchError: naming the parties whose signature is missing or does not verify.
    """
    found = check_signatures(signed)
    failed = [f"{item.organisation}: {item.in_words}" for item in found if item.state != "valid"]
    if failed or not found:
        raise AgreementMismatchError(
            f"Not every party's signature over this agreement verifies ({'; '.join(failed) or 'it names no party'}). "
            "Nothing was done. Tell the linkage unit and the other parties."
        )


def to_bundle(signed: SignedDocument) -> dict[str, Any]:
    """A document with signatures and keys as one JSON object, which anybody can verify offline."""
    return {
        "format": FORMAT,
        "about": dict(signed.about),
        "digest": signed.stated_digest,
        "document": dict(signed.document),
        "signatures": dict(signed.signatures),
        "keys": {organisation: dict(key) for organisation, key in signed.keys.items()},
        "names": dict(signed.names),
    }


def from_bundle(content: Mapping[str, Any]) -> SignedDocument:
    """The content of a bundle.

    Raises:
        FileFormatError: it is none.
    """
    if content.get("format") != FORMAT:
        raise FileFormatError("This is not a bundle of a signed agreement. Make one with `linkage agreement export`.")
    document, digest = content.get("document"), content.get("digest")
    tables = [content.get(name) for name in ("signatures", "keys", "names", "about")]
    if not isinstance(document, dict) or not isinstance(digest, str) or not all(isinstance(t, dict) for t in tables):
        raise FileFormatError("This bundle is damaged. Ask for it again.")
    signatures, keys, names, about = (table if isinstance(table, dict) else {} for table in tables)
    return SignedDocument(
        document=document,
        stated_digest=digest,
        signatures={str(name): str(value) for name, value in signatures.items()},
        keys={str(name): value for name, value in keys.items() if isinstance(value, dict)},
        names={str(name): str(value) for name, value in names.items()},
        about=about,
    )


def _checked(signed: SignedDocument, party: str, message: bytes, expected: str | None) -> Checked:
    signature, jwk = signed.signatures.get(party), signed.keys.get(party)
    key = None if jwk is None else _public(jwk)
    print_ = None if jwk is None or key is None else thumbprint({name: str(jwk[name]) for name in ("crv", "kty", "x")})
    return Checked(party, _state(signature, key, message, known=expected in {None, print_}), print_)


def _state(signature: str | None, key: Ed25519PublicKey | None, message: bytes, *, known: bool) -> State:
    if signature is None:
        return "missing"
    if key is None:
        return "no_key"
    if not known:
        return "other_key"
    try:
        key.verify(_raw(signature), message)
    except (InvalidSignature, ValueError):
        return "wrong"
    return "valid"


def _public(jwk: Mapping[str, Any]) -> Ed25519PublicKey | None:
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or not isinstance(jwk.get("x"), str):
        return None
    try:
        return Ed25519PublicKey.from_public_bytes(_raw(jwk["x"]))
    except ValueError:
        return None


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
