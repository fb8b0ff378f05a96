"""What encoding takes from a project and its agreement, checked before data are touched: schema, epoch, limits.

Nothing of it is believed because the service says so. The digest of the agreement is computed here from its text, it
has to be the one of the project, every party's signature over it has to verify, and the linkage schema has to be the
one that element 3 of this text names.

The keys of the parties come from the service too. So this proves that nobody but who holds the keys that are registered
there has agreed; that a key is the organisation's own is proven by comparing thumbprints with it by another way
(`linkage agreement verify --thumbprint`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linkage_client.agreements.signatures import (
    SignedDocument,
    check_signatures,
    checked_digest,
    parties_of,
    require_all,
)
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import AgreementMismatchError, UnexpectedAnswerError
from linkage_client.exchange.marks import Marks
from linkage_client.keys import SigningKey

if TYPE_CHECKING:
    from linkage_client.client import LinkageClient
    from linkage_client.config import Profile
    from linkage_client.models import Organisation, Project


@dataclass(frozen=True, slots=True)
class AgreedTerms:
    """What encoding takes from a project; without one, the defaults."""

    schema: LinkageSchema
    project_id: str | None = None
    epoch: int = 1
    encoding_profile: str | None = None
    maximum_reidentification: float | None = None
    """The largest measured share, 0..1, that the agreement allows; None where it sets none."""
    minimum_completeness: Mapping[str, float] = field(default_factory=dict)
    """By feature of the schema, the smallest share, 0..1, of records with a value that the agreement allows."""
    reapply_days: int | None = None
    """After so many days people who have objected must be taken out anew; None where the agreement asks for nothing."""


@dataclass(frozen=True, slots=True)
class AgreedProject:
    """A project with the linkage schema and the agreement text that its parties have signed."""

    project: "Project"
    schema: LinkageSchema
    document: Mapping[str, Any]


def agreed_terms(client: "LinkageClient", *, project_id: str, profile: "Profile | None" = None) -> AgreedTerms:
    """The terms of a project, as its agreement's version says.

    Args:
        client: connected.
        project_id: of which project.
        profile: whose own key and memory of key epochs are held against what the service says; that of the client
            without.

    Raises:
        SchemaError: the schema that the service hands out cannot be used.
        AgreementMismatchError: the agreement is not the one of the project, or a party's signature does not verify.
        UnexpectedAnswerError: the linkage schema is not the one that was agreed, or an answer is about something else.
        KeyExchangeError: the key epoch is older than one that this machine has seen.
        ServiceError: a problem.
    """
    agreed = agreed_project(client, project_id=project_id, profile=profile)
    security, quality, rights = (_element(agreed.document, name) for name in ("security", "quality", "rights"))
    profile, maximum = security.get("encoding_profile"), security.get("maximum_reidentification")
    asked = quality.get("min_completeness")
    return AgreedTerms(
        schema=agreed.schema,
        project_id=agreed.project.id,
        epoch=agreed.project.key_epoch,
        encoding_profile=profile if isinstance(profile, str) else None,
        maximum_reidentification=_share(maximum),
        minimum_completeness=_shares(asked if isinstance(asked, Mapping) else {}),
        reapply_days=_reapply_days(rights),
    )


def agreed_project(client: "LinkageClient", *, project_id: str, profile: "Profile | None" = None) -> AgreedProject:
    """A project, its linkage schema and its agreement, found to belong together and to be signed by every party.

    Args: as of `agreed_terms`.

    Raises:
        SchemaError: the schema that the service hands out cannot be used.
        AgreementMismatchError: the agreement is not the one of the project, or a party's signature does not verify.
        UnexpectedAnswerError: the linkage schema is not the one that was agreed, or an answer is about something else.
        KeyExchangeError: the key epoch is older than one that this machine has seen.
        ServiceError: a problem.
    """
    profile = profile or client.profile
    project = named_project(client, project_id=project_id, profile=profile)
    signed = signed_version(client, agreement_id=project.agreement.id, version=project.agreement.version)
    if checked_digest(signed) != project.agreement.digest:
        raise AgreementMismatchError(
            "The agreement that the service hands out is not the one that the project was opened under. "
            "Nothing was done. Tell the linkage unit and the other parties.",
        )
    require_all(signed)
    _require_own_key(signed, profile)
    schema = LinkageSchema.parse(project.linkage_schema)
    if schema.digest != _element(signed.document, "data").get("linkage_schema_sha256"):
        raise UnexpectedAnswerError(
            "The service hands out a linkage schema that is not the one of the agreement. Nothing was done. "
            "Tell the linkage unit and the other parties.",
        )
    return AgreedProject(project=project, schema=schema, document=signed.document)


def named_project(client: "LinkageClient", *, project_id: str, profile: "Profile | None" = None) -> "Project":
    """The project that was named, and no other: secrets are kept, and encodings made, under the name that was typed.

    Args: as of `agreed_terms`.

    Raises:
        UnexpectedAnswerError: the service answers with another project.
        KeyExchangeError: the key epoch is older than one that this machine has seen.
        ServiceError: a problem.
    """
    project = client.projects.get(project_id=project_id)
    _require_same(project.id == project_id, "another project", request_id=project.request_id)
    profile = profile or client.profile
    if profile is not None:
        Marks(profile).require_present(project_id, project.key_epoch)
    return project


def signed_version(client: "LinkageClient", *, agreement_id: str, version: int) -> SignedDocument:
    """A version of an agreement with its signatures, and the names and registered keys of its parties.

    Raises:
        UnexpectedAnswerError: the service answers with another agreement, version or organisation.
        ServiceError: a problem.
    """
    found = client.agreements.version(agreement_id=agreement_id, version=version)
    same = (found.id, found.version) == (agreement_id, version)
    _require_same(same, "another version or agreement", request_id=found.request_id)
    organisations = [_organisation(client, party) for party in parties_of(found.document)]
    return SignedDocument(
        document=found.document,
        stated_digest=found.digest,
        signatures={item.organisation: item.signature for item in found.signatures},
        keys={item.id: item.signing_key for item in organisations if item.signing_key is not None},
        names={item.id: item.name for item in organisations},
        about={
            "id": found.id,
            "reference": found.reference,
            "version": found.version,
            "state": found.version_state or found.state,
            "signed_at": {item.organisation: item.signed_at.isoformat() for item in found.signatures},
        },
    )


def _require_own_key(signed: SignedDocument, profile: "Profile | None") -> None:
    """Refuse an agreement that the own organisation is said to have signed with a key that it does not have.

    Raises:
        AgreementMismatchError: then the service has made up the agreement, or keys of parties.
    """
    own = None if profile is None else _own_thumbprint(profile)
    if profile is None or own is None:
        return
    found = check_signatures(signed, expected={profile.organisation_id: own})
    if any(one.organisation == profile.organisation_id and one.state == "other_key" for one in found):
        raise AgreementMismatchError(
            "The service shows an agreement that your own organisation is said to have signed, and the key is not the "
            "one of your organisation that this profile has. Nothing was done, and nobody should share or send "
            "anything now. Tell your officer and the other parties, by another way than this service."
        )


def _own_thumbprint(profile: "Profile") -> str | None:
    if profile.signing_key is not None or profile.signing_key_file is None:
        return profile.signing_key
    # The key need not lie where an analyst works; then only the signatory's machine can tell.
    if not profile.signing_key_file.exists():
        return None
    return SigningKey.load(profile.signing_key_file).thumbprint


def _organisation(client: "LinkageClient", organisation_id: str) -> "Organisation":
    found = client.organisations.get(organisation_id=organisation_id)
    _require_same(found.id == organisation_id, "another organisation", request_id=found.request_id)
    return found


def _require_same(same: bool, what: str, *, request_id: str | None) -> None:  # noqa: FBT001 - a condition
    if not same:
        raise UnexpectedAnswerError(
            f"The service answers with {what} than the one that was asked for. Nothing was done. Tell the linkage unit "
            "and your officer.",
            request_id=request_id,
        )


def _element(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    element = document.get(name)
    return element if isinstance(element, Mapping) else {}


def _reapply_days(rights: Mapping[str, Any]) -> int | None:
    days = rights.get("reapply_days")
    return days if rights.get("opt_out_type", "none") != "none" and isinstance(days, int) else None


def reapply_days(client: "LinkageClient", *, project_id: str) -> int | None:
    """After how many days the project's agreement wants opt-outs applied anew; None where it asks for nothing.

    Raises:
        ServiceError, AgreementMismatchError, UnexpectedAnswerError: see `agreed_project`.
    """
    return _reapply_days(_element(agreed_project(client, project_id=project_id).document, "rights"))


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _shares(asked: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): share for name, value in asked.items() if (share := _share(value)) is not None}
