"""What the policy judges: entities with attributes, in the engine's JSON form.

A decision is made for every request and its facts are recorded, so they are written in their canonical form (RFC 8785)
at once: objects first, and their text from these, took longer than the engine takes to decide.
"""

import json
from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_quoted = json.JSONEncoder(ensure_ascii=False).encode  # of a text what RFC 8785 asks


@dataclass(frozen=True, slots=True)
class Reference:
    """A Cedar entity by type and id."""

    type: str
    id: str

    def to_json(self) -> dict[str, str]:
        """Cedar's JSON form of an entity reference."""
        return {"type": f"Linkage::{self.type}", "id": self.id}

    @property
    def text(self) -> str:
        """The same in canonical form."""
        return f'{{"id":{_quoted(self.id)},"type":"Linkage::{self.type}"}}'


Attribute = str | bool | int | datetime | Reference | AbstractSet[str] | AbstractSet[Reference]


@dataclass(frozen=True, slots=True)
class Entity:
    """A Cedar entity with its attributes.

    Attributes:
        reference: type and id.
        attributes: what the policy reads; optional ones that are not there are left out.
        parents: what it lies in.
        key: equal for entities that say the same, so that it need not be written again; None for those that change
            from request to request.
    """

    reference: Reference
    attributes: Mapping[str, Attribute]
    parents: tuple[Reference, ...] = ()
    key: Hashable = None

    @property
    def text(self) -> str:
        """Cedar's JSON form of the entity, canonical."""
        attributes = object_text({name: text_of(value) for name, value in self.attributes.items()})
        parents = ",".join([parent.text for parent in self.parents])
        return f'{{"attrs":{attributes},"parents":[{parents}],"uid":{self.reference.text}}}'


def text_of(value: Any) -> str:
    """Cedar's JSON form of an attribute, canonical."""
    match value:
        case str():
            return _quoted(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case datetime():
            moment = value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return f'{{"__extn":{{"arg":"{moment}","fn":"datetime"}}}}'
        case Reference():
            return f'{{"__entity":{value.text}}}'
        case _:
            return "[" + ",".join([text_of(item) for item in sorted(value, key=repr)]) + "]"


def object_text(members: Mapping[str, str]) -> str:
    """An object in canonical form, of members that are, by names of the schema: these are plain ASCII."""
    return "{" + ",".join([f'"{name}":{members[name]}' for name in sorted(members)]) + "}"


def shape_of(value: Attribute) -> Hashable:
    """What a schema can say of an attribute: its type, and those of its parts."""
    match value:
        case str() | bool() | int() | datetime():
            return type(value).__name__
        case Reference():
            return "entity", value.type
        case _:
            return frozenset([shape_of(item) for item in value])


def organisation_reference(organisation_id: str) -> Reference:
    """An organisation as the policy refers to it."""
    return Reference("Organisation", organisation_id)
