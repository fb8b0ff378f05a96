"""Use cases of projects, and the project as the policy sees it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785
from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.decide import Resource
from linkage_service.access.entities import Entity, Reference, organisation_reference
from linkage_service.access.guard import Operation
from linkage_service.agreements.service import InForce, at_version
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import FieldError, Invalid, NotFound
from linkage_service.ids import new_id
from linkage_service.keys.tables import KeyEpoch
from linkage_service.projects import schemas, tables

_SMALLEST_BITS, _LARGEST_BITS, _WORD_BITS = 256, 4096, 64
_FORMAT_VERSIONS = (1, 2, 3)
_FEWEST_PROVIDERS = 2  # linking needs two


@dataclass(frozen=True, slots=True)
class Governed:
    """A project with the agreement version that governs it.

    Attributes:
        row: the project.
        agreement: the version.
        providers: the organisations that upload in this project now, in the order of the agreement.
    """

    row: tables.Project
    agreement: InForce
    providers: tuple[str, ...]

    def entity(self) -> Entity:
        """The project as the policy sees it."""
        return Entity(
            Reference("Project", self.row.id),
            {
                "agreement": Reference("Agreement", self.row.agreement),
                "state": self.row.state,
                "kind": self.row.kind,
                "purpose": self.row.purpose,
                "providers": frozenset(map(organisation_reference, self.providers)),
            },
            parents=(Reference("Agreement", self.row.agreement),),
            # A project keeps its version, and with it all but its state and who takes part.
            key=("project", self.row.id, self.row.agreement, self.row.state, self.providers),
        )

    def resource(self) -> Resource:
        """The project as something that is acted on."""
        return self.beneath(kind="project", entity=self.entity())

    def beneath(self, *, kind: str, entity: Entity, related: tuple[Entity, ...] = ()) -> Resource:
        """Something that belongs to the project (an upload, a run, a release) as something that is acted on."""
        return Resource(
            kind=kind,
            entity=entity,
            related=(self.entity(), *related),
            visible_to=self.agreement.parties,
            under=self.agreement.governing,
            project=self.row.id,
        )


@dataclass(frozen=True, slots=True)
class CanonicalSchema:
    """A linkage schema's canonical JSON (RFC 8785) and its SHA-256, hex."""

    text: str
    sha256: str


def governed(session: Session, project_id: str) -> Governed:
    """A project under its agreement version.

    Raises:
        NotFound: there is none.
    """
    found = tables.governed(session, project_id)
    if found is None:
        raise NotFound(NotFound.HIDDEN)
    return _governed(session, found)


def beneath(session: Session, model: type[tables.Row], row_id: str) -> tuple[tables.Row, Governed]:
    """Something that belongs to a project (an upload, a run, a release), with that project.

    Raises:
        NotFound: there is none.
    """
    found = tables.beneath(session, model, row_id)
    if found is None:
        raise NotFound(NotFound.HIDDEN)
    row, project = found
    return row, _governed(session, project)


def _governed(session: Session, found: tables.Found) -> Governed:
    agreement = at_version(session, found.agreement)
    known = agreement.document.organisations("provider")
    return Governed(row=found.row, agreement=agreement, providers=tuple(one for one in known if one in found.providers))


def open_project(
    operation: Operation, *, agreement: InForce, draft: schemas.ProjectDraft, schema: CanonicalSchema
) -> Governed:
    """Opens a project under the agreement's present version, with the schema that the policy has compared.

    Raises:
        Invalid: the schema makes encodings that cannot be matched here, or an organisation is to take part that the
            agreement does not name as a provider.
    """
    bits = encoding_bits(draft.linkage_schema)
    providers = _taking_part(agreement, draft.providers)
    row = tables.Project(
        id=new_id("prj", operation.now),
        name=draft.name,
        agreement=agreement.row.id,
        agreement_version=agreement.version.version,
        kind=draft.kind,
        purpose=draft.purpose,
        state="open",
        linkage_schema=schema.text,
        linkage_schema_sha256=schema.sha256,
        bits=bits,
        key_epoch=1,
        created_at=operation.now,
    )
    operation.session.add(row)
    operation.session.flush()
    operation.session.add_all(
        tables.ProjectProvider(project=row.id, organisation=one, joined_epoch=row.key_epoch) for one in providers
    )
    operation.session.add(
        KeyEpoch(
            project=row.id,
            epoch=row.key_epoch,
            reason="opened",
            opened_by=operation.caller.organisation,
            opened_at=operation.now,
        )
    )
    opened = Governed(row=row, agreement=agreement, providers=providers)
    operation.record(
        EventType.PROJECT_OPENED,
        resource=events.Resource("project", row.id),
        under=opened.resource(),
        purpose=draft.purpose,
        counts={"providers": len(providers)},
    )
    return opened


def _taking_part(agreement: InForce, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The providers of a new project, in the order of the agreement.

    Raises:
        Invalid: one of those wanted is no provider in the agreement, or they are too few to link.
    """
    known = agreement.document.organisations("provider")
    if wanted is None:
        return tuple(known)
    errors = [
        FieldError(f"/providers/{place}", "not_a_provider", "The agreement does not name it as a provider.")
        for place, one in enumerate(wanted)
        if one not in known
    ]
    if errors:
        raise Invalid(
            "An organisation that is to take part is not a provider in this agreement. Name its providers only, or "
            "have the parties sign an amendment.",
            errors=errors,
        )
    fewest = min(_FEWEST_PROVIDERS, len(known))
    if len(set(wanted)) < fewest:
        raise _wrong("/providers", "too_few", f"At least {fewest} different providers must take part.")
    return tuple(one for one in known if one in wanted)


def canonical(document: Mapping[str, Any], *, pointer: str) -> CanonicalSchema:
    """A linkage schema in its canonical form.

    Raises:
        Invalid: it has no canonical form.
    """
    try:
        encoded = rfc8785.dumps(dict(document))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise _wrong(pointer, "not_canonical", "The document holds a value that has no canonical JSON form.") from error
    return CanonicalSchema(encoded.decode(), hashlib.sha256(encoded).hexdigest())


def encoding_bits(schema: Mapping[str, Any]) -> int:
    """Length in bits of the encodings that a clkhash linkage schema makes, after its xor folds.

    The service reads no more of a schema than this: it never encodes.

    Raises:
        Invalid: the schema has no usable length.
    """
    config = schema.get("clkConfig")
    if schema.get("version") not in _FORMAT_VERSIONS or not isinstance(config, Mapping):
        raise _wrong(
            "/linkage_schema", "not_a_schema", "This is not a clkhash linkage schema: version or clkConfig is missing."
        )
    length, folds = config.get("l"), config.get("xor_folds", config.get("xorFolds", 0))
    # clkhash's `l` is the length after folding: the filter starts out 2^folds times as long.
    if type(length) is not int or type(folds) is not int:
        raise _wrong("/linkage_schema/clkConfig/l", "not_a_length", "The filter length must be a whole number.")
    if not _SMALLEST_BITS <= length <= _LARGEST_BITS or length % _WORD_BITS:
        raise _wrong(
            "/linkage_schema/clkConfig/l",
            "unsupported_length",
            f"The matching engine takes lengths of {_SMALLEST_BITS} to {_LARGEST_BITS} bits "
            f"in multiples of {_WORD_BITS}.",
        )
    return length


def hashed_fields(schema: Mapping[str, Any]) -> list[str]:
    """Identifiers of the features that a linkage schema hashes; derived ones count as what they are derived from."""
    features = schema.get("features")
    if not isinstance(features, list):
        return []
    return [
        str(feature.get("identifier"))
        for feature in features
        if isinstance(feature, Mapping) and not feature.get("ignored")
    ]


def render(project: Governed) -> schemas.Project:
    """A project for the wire."""
    return schemas.Project(**_common(project))


def render_detail(project: Governed) -> schemas.ProjectDetail:
    """A project with its linkage schema for the wire."""
    return schemas.ProjectDetail(**_common(project), linkage_schema=json.loads(project.row.linkage_schema))


def _common(project: Governed) -> dict[str, Any]:
    row, agreement = project.row, project.agreement
    return {
        "id": row.id,
        "name": row.name,
        "agreement": schemas.AgreementVersionRef(
            id=agreement.row.id,
            reference=agreement.row.reference,
            version=agreement.version.version,
            digest=agreement.version.digest,
        ),
        "kind": row.kind,
        "purpose": row.purpose,
        "state": row.state,
        "linkage_schema_sha256": row.linkage_schema_sha256,
        "bits": row.bits,
        "providers": list(project.providers),
        "recipients": agreement.document.organisations("recipient"),
        "key_epoch": row.key_epoch,
        "created_at": row.created_at,
    }


def _wrong(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer, code, detail)])
