"""The one function that decides, and the words in which it explains a refusal.

Cedar skips a `forbid` whose evaluation fails, so a request could be allowed by an error: a decision counts as "allow"
only without errors, entities are always checked against the schema, and policies that do not validate stop the service
at start.
"""

import hashlib
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import cedarpy
import rfc8785

from linkage_service.access.actions import Action
from linkage_service.errors import RefusedElement

_NO_GRANT = "no-grant"
_EVALUATION = "policy-error"


@dataclass(frozen=True, slots=True)
class Reference:
    """A Cedar entity by type and id."""

    type: str
    id: str

    def to_json(self) -> dict[str, str]:
        """Cedar's JSON form of an entity reference."""
        return {"type": f"Linkage::{self.type}", "id": self.id}


Attribute = str | bool | int | datetime | Reference | AbstractSet[str] | AbstractSet[Reference]


@dataclass(frozen=True, slots=True)
class Entity:
    """A Cedar entity with its attributes."""

    reference: Reference
    attributes: Mapping[str, Attribute]
    parents: tuple[Reference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Cedar's JSON form of an entity."""
        return {
            "uid": self.reference.to_json(),
            "attrs": {name: _attribute(value) for name, value in self.attributes.items()},
            "parents": [parent.to_json() for parent in self.parents],
        }


@dataclass(frozen=True, slots=True)
class AgreementReference:
    """The agreement version under which a decision is made, as the ledger names it."""

    reference: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on.

    Attributes:
        kind: noun in the ledger (`project`, `upload`, …).
        entity: the resource as the policy sees it.
        related: entities whose attributes the policy reads through the resource.
        visible_to: organisations that may know that it exists; None for everyone signed in.
        agreement: the governing agreement version.
        project: the project it belongs to.
    """

    kind: str
    entity: Entity
    related: tuple[Entity, ...] = ()
    visible_to: frozenset[str] | None = None
    agreement: AgreementReference | None = None
    project: str | None = None

    @property
    def id(self) -> str:
        """The id of the thing itself."""
        return self.entity.reference.id


SERVICE = Resource(kind="service", entity=Entity(Reference("Service", "linkage"), {}))
LEDGER = Resource(kind="audit", entity=Entity(Reference("Ledger", "ledger"), {}))


@dataclass(frozen=True, slots=True)
class Caller:
    """A machine client whose token was checked, as it stands in the database now."""

    client: str
    organisation: str
    organisation_kind: str
    roles: frozenset[str]
    key_thumbprint: str
    revoked: bool = False
    suspended: bool = False

    @property
    def oversees(self) -> bool:
        """Whether the linkage unit's own duties let it know that things exist."""
        return self.organisation_kind == "linkage_unit" and bool(self.roles & {"officer", "administrator"})

    def entities(self) -> tuple[Entity, Entity]:
        """The client and its organisation as the policy sees them."""
        organisation = organisation_entity(self.organisation, kind=self.organisation_kind, suspended=self.suspended)
        client = Entity(
            Reference("Client", self.client),
            {"organisation": organisation.reference, "roles": self.roles, "revoked": self.revoked},
        )
        return client, organisation


def organisation_entity(organisation: str, *, kind: str, suspended: bool) -> Entity:
    """An organisation as the policy sees it."""
    return Entity(Reference("Organisation", organisation), {"kind": kind, "suspended": suspended})


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why, as the ledger records it.

    Attributes:
        allowed: the answer.
        policies: ids of every policy that fired, sorted.
        refusals: for a refusal, the elements that refused, in the policy's words.
        policy_digest: SHA-256 of the policy text and schema.
        entities_digest: SHA-256 of the canonical request and entities, so that the decision can be made again and
            compared.
    """

    allowed: bool
    policies: tuple[str, ...]
    refusals: tuple[RefusedElement, ...]
    policy_digest: str
    entities_digest: str


class Policy:
    """The validated policy text.

    Raises:
        ValueError: the policies do not validate against the schema; the service must not start.
    """

    def __init__(self) -> None:
        folder = resources.files("linkage_service.access")
        text = (folder / "policy.cedar").read_text(encoding="utf-8")
        schema = (folder / "policy.cedarschema").read_text(encoding="utf-8")
        validation = cedarpy.validate_policies(text, schema)
        if not validation.validation_passed:
            raise ValueError(f"the access policy does not validate: {[str(error) for error in validation.errors]}")
        self.digest = hashlib.sha256(text.encode() + b"\0" + schema.encode()).hexdigest()
        self._policies = cedarpy.PolicySet.from_str(text)
        self._schema = cedarpy.Schema.from_str(schema)
        parsed = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
        self._annotations: dict[str, Mapping[str, str]] = {
            policy["annotations"]["id"]: policy["annotations"] for policy in parsed
        }

    def decide(
        self,
        *,
        action: Action,
        caller: Caller,
        resource: Resource,
        now: datetime,
        context: Mapping[str, Attribute],
    ) -> Decision:
        """Decides one request: deny unless a permit fired, no forbid fired and nothing failed to evaluate."""
        client, organisation = caller.entities()
        known = {entity.reference: entity for entity in (resource.entity, *resource.related, client, organisation)}
        entities = [entity.to_json() for entity in known.values()]
        request = {
            "principal": client.reference.to_json(),
            "action": {"type": "Linkage::Action", "id": action.value},
            "resource": resource.entity.reference.to_json(),
            "context": {name: _attribute(value) for name, value in {"now": now, **context}.items()},
        }
        result = cedarpy.is_authorized(request, self._policies, entities, self._schema)
        errors = bool(result.diagnostics.errors)
        allowed = result.decision is cedarpy.Decision.Allow and not errors
        fired = tuple(sorted(set(result.diagnostics.id_annotations_by_reason.values())))
        return Decision(
            allowed=allowed,
            policies=fired,
            refusals=() if allowed else self._explain(action, fired, failed=errors),
            policy_digest=self.digest,
            entities_digest=hashlib.sha256(rfc8785.dumps({"request": request, "entities": entities})).hexdigest(),
        )

    def _explain(self, action: Action, fired: tuple[str, ...], *, failed: bool) -> tuple[RefusedElement, ...]:
        refusals = [
            RefusedElement(element=note["element"], policy=policy, reason=note["reason"])
            for policy in fired
            if "reason" in (note := self._annotations.get(policy, {}))
        ]
        if failed or (not refusals and fired):
            return (
                *refusals,
                RefusedElement(
                    element="none",
                    policy=_EVALUATION,
                    reason=(
                        "The policy could not be evaluated, so the request is refused; the operator must look into it."
                    ),
                ),
            )
        if not refusals:
            return (
                RefusedElement(
                    element="2 Recipients and circumstances of access",
                    policy=_NO_GRANT,
                    reason=f"Nothing grants this to the caller; it needs {action.needs}.",
                ),
            )
        return tuple(refusals)


def in_billionths(share: float) -> int:
    """A share in 0..1 as the policy compares it: Cedar has whole numbers, and decimals of four places only."""
    return round(share * 1_000_000_000)


def _attribute(value: Any) -> Any:
    match value:
        case bool() | int() | str():
            return value
        case datetime():
            return {
                "__extn": {
                    "fn": "datetime",
                    "arg": value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                }
            }
        case Reference():
            return {"__entity": value.to_json()}
        case _:
            return [_attribute(item) for item in sorted(value, key=repr)]
