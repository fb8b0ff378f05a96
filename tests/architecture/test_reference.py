"""The references of commands and of linkage schemas are what the code makes of itself."""

import copy
from pathlib import Path
from typing import Any

import click
import pytest

from linkage_client.encoding.schema import LinkageSchema
from linkage_client.encoding.schema_options import PLACES, Place
from linkage_client.errors import SchemaError
from linkage_client.reference import REFERENCES, leaf_commands
from support.linkage_schemas import linkage_schema, string_feature

ROOT = Path(__file__).parents[2]
FILES = {"agreement": "agreement.md", "commands": "commands.md", "schema": "linkage-schema.md"}
WHOLE: dict[str, dict[str, Any]] = {
    "Linkage schema": {},
    "Encoding": {"l": 1024, "kdf": {"type": "HKDF"}, "xorFolds": 1, "xor_folds": 1},
    "Key derivation": {"type": "HKDF", "hash": "SHA512", "salt": "c2FsdA==", "info": "aW5mbw==", "keySize": 32},
    "Feature": {},
    "Format: text": {"type": "string", "encoding": "ascii", "case": "lower", "minLength": 1, "maxLength": 9},
    "Format: text by a pattern": {"type": "string", "encoding": "utf-8", "pattern": "[a-z]*"},
    "Format: integer": {"type": "integer", "minimum": 0, "maximum": 9},
    "Format: date": {"type": "date", "format": "%Y-%m-%d"},
    "Format: one of a few": {"type": "enum", "values": ["a", "b"]},
    "Hashing": {},
    "Comparison: n-grams": {"type": "ngram", "n": 2, "positional": True},
    "Comparison: exact": {"type": "exact"},
    "Comparison: numeric": {"type": "numeric", "thresholdDistance": 3, "resolution": 2, "fractional_precision": 1},
    "Strategy": {"bitsPerFeature": 20},
    "Hash: blakeHash": {"type": "blakeHash"},
    "Hash: doubleHash": {"type": "doubleHash", "prevent_singularity": True},
    "Missing value": {"sentinel": "", "replaceWith": ""},
}
"""For each place an object with every member at once, put into an otherwise ordinary schema."""


def _schema_with(place: Place, members: dict[str, Any]) -> dict[str, Any]:
    hashing = string_feature("given_name", missingValue={"sentinel": "", "replaceWith": ""})
    document = linkage_schema({**hashing, "ignored": False})
    if not members:
        return document
    target: Any = document
    *steps, last = place.where.replace("*", "0").strip("/").split("/")
    for step in steps:
        target = target[int(step) if step.isdigit() else step]
    target[last] = members
    return copy.deepcopy(document)


def _at(document: dict[str, Any], place: Place) -> dict[str, Any]:
    found: Any = document
    for step in filter(None, place.where.replace("*", "0").split("/")):
        found = found[int(step) if step.isdigit() else step]
    members: dict[str, Any] = found
    return members


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_reference_is_what_the_program_makes(name: str) -> None:
    written = (ROOT / "docs" / "reference" / FILES[name]).read_text(encoding="utf-8")
    command = f"python -m linkage_client.reference {name} > docs/reference/{FILES[name]}"
    assert written == REFERENCES[name](), f"out of date: run {command}"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.title)
def test_every_documented_member_is_accepted(place: Place) -> None:
    document = _schema_with(place, WHOLE[place.title])
    # The other strategy is excluded by the first.
    assert set(_at(document, place)) | ({"bitsPerToken"} & set(place.names)) == set(place.names)
    LinkageSchema.parse(document)


@pytest.mark.parametrize(
    ("place", "name"),
    [(place, name) for place in PLACES for name, option in place.options.items() if option.default is None],
    ids=lambda value: value if isinstance(value, str) else value.title,
)
def test_member_documented_as_required_is_required(place: Place, name: str) -> None:
    document = _schema_with(place, WHOLE[place.title])
    del _at(document, place)[name]
    with pytest.raises(SchemaError):
        LinkageSchema.parse(document)


@pytest.mark.parametrize(
    ("place", "name"),
    [(place, name) for place in PLACES for name, option in place.options.items() if option.default is not None],
    ids=lambda value: value if isinstance(value, str) else value.title,
)
def test_member_documented_with_a_default_may_be_absent(place: Place, name: str) -> None:
    document = _schema_with(place, WHOLE[place.title])
    members = _at(document, place)
    members.pop(name, None)
    if place.title == "Strategy":
        members |= {"bitsPerToken": 5} if name == "bitsPerFeature" else {}
    LinkageSchema.parse(document)


def test_reference_is_the_same_after_somebody_asked_for_help_in_another_way() -> None:
    for _, command in leaf_commands():
        command.get_params(click.Context(command))
    assert "| `-h`, `--help` |" in REFERENCES["commands"]()
