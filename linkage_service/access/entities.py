"""What the policy judges: entities with attributes, in the engine's JSON form."""

from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


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
    """A Cedar entity with its attributes.

    Attributes:
        reference: type and id.
        attributes: what the policy reads; optional ones that are not there are left out.
        parents: what it lies in.
        key: equal for entities that say the same, so that the engine need not read them again; None for those that
            change from request to request.
    """

    reference: Reference
    attributes: Mapping[str, Attribute]
    parents: tuple[Reference, ...] = ()
    key: Hashable = None

    def to_json(self) -> dict[str, Any]:
        """Cedar's JSON form of an entity."""
        return {
            "uid": self.reference.to_json(),
            "attrs": {name: attribute(value) for name, value in self.attributes.items()},
            "parents": [parent.to_json() for parent in self.parents],
        }


def attribute(value: Any) -> Any:
    """Cedar's JSON form of an attribute."""
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
            return [attribute(item) for item in sorted(value, key=repr)]


def organisation_reference(organisation_id: str) -> Reference:
    """An organisation as the policy refers to it."""
    return Reference("Organisation", organisation_id)
