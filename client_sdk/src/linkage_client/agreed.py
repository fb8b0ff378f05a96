"""What encoding takes from a project and its agreement, checked before data are touched: schema, epoch, limits.

The service hands out the linkage schema, and the agreement names its digest. Whoever encodes compares the two here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import UnexpectedAnswerError

if TYPE_CHECKING:
    from linkage_client.client import LinkageClient
    from linkage_client.models import Project


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


def agreed_terms(client: "LinkageClient", *, project_id: str) -> AgreedTerms:
    """The terms of a project, as its agreement's version says.

    Raises:
        SchemaError: the schema that the service hands out cannot be used.
        UnexpectedAnswerError: it is not the one that was agreed.
        ServiceError: a problem.
    """
    project = client.projects.get(project_id=project_id)
    agreement = client.agreements.version(agreement_id=project.agreement.id, version=project.agreement.version)
    security, quality, rights = (_element(agreement.document, name) for name in ("security", "quality", "rights"))
    profile, maximum = security.get("encoding_profile"), security.get("maximum_reidentification")
    asked = quality.get("min_completeness")
    return AgreedTerms(
        schema=_schema_of(project),
        project_id=project.id,
        epoch=project.key_epoch,
        encoding_profile=profile if isinstance(profile, str) else None,
        maximum_reidentification=_share(maximum),
        minimum_completeness=_shares(asked if isinstance(asked, Mapping) else {}),
        reapply_days=_reapply_days(rights),
    )


def _schema_of(project: "Project") -> LinkageSchema:
    parsed = LinkageSchema.parse(project.linkage_schema)
    if parsed.digest != project.linkage_schema_sha256:
        raise UnexpectedAnswerError(
            "The service hands out a linkage schema that is not the one of the agreement. Nothing was encoded. "
            "Tell the linkage unit and the other parties.",
        )
    return parsed


def _element(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    element = document.get(name)
    return element if isinstance(element, Mapping) else {}


def _reapply_days(rights: Mapping[str, Any]) -> int | None:
    days = rights.get("reapply_days")
    return days if rights.get("opt_out_type", "none") != "none" and isinstance(days, int) else None


def reapply_days(client: "LinkageClient", project: "Project") -> int | None:
    """After how many days the project's agreement wants opt-outs applied anew; None where it asks for nothing."""
    agreement = client.agreements.version(agreement_id=project.agreement.id, version=project.agreement.version)
    return _reapply_days(_element(agreement.document, "rights"))


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _shares(asked: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): share for name, value in asked.items() if (share := _share(value)) is not None}
