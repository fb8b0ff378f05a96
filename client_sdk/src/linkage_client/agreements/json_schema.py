"""Checks a document by the published JSON Schema of agreements, and says in plain words what is wrong where.

It knows the keywords of JSON Schema (2020-12) that the published schema uses, and refuses a schema with others: a
keyword that is passed over would let a document through. A test holds its answers to a complete implementation's.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "default"})
_DATE_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
# What a pattern asks for, where it can be said in words.
_PATTERNS: Final[Mapping[str, str]] = {
    r"\S": "This must not be blank.",
    r"^[^\t\n\r]*\S[^\t\n\r]*$": "This must be one line, and not blank.",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "This must be a time of the day, such as 07:00.",
    r"^[0-9a-f]{64}$": "This must be a SHA-256 digest: 64 hex digits in small letters.",
    r"^[a-z0-9][a-z0-9._-]{0,63}$": "This must be a short name of small letters, digits, dots and hyphens.",
    r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$": "This must be a short name of letters, digits, dots, slashes and hyphens.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a document. It does not quote the document."""

    pointer: str
    """Where, as a JSON pointer (RFC 6901)."""
    message: str


@cache
def agreement_schema() -> Mapping[str, Any]:
    """The JSON Schema of agreement documents of this release: the one that the service publishes."""
    text = (resources.files("linkage_client.agreements") / "agreement.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of the schema with its reference followed, and what is said beside the reference kept."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].removeprefix("#/$defs/")
    return {**agreement_schema()["$defs"][name], **{key: value for key, value in schema.items() if key != "$ref"}}


def findings_of(value: Any, schema: Mapping[str, Any] | None = None, pointer: str = "") -> Iterator[Finding]:
    """What is wrong with a value by the schema, in the schema's order."""
    schema = resolved(agreement_schema() if schema is None else schema)
    unknown = schema.keys() - _ANNOTATIONS - _CHECKS.keys() - {"properties", "additionalProperties"}
    if unknown:
        raise ValueError(f"the schema uses keywords that are not known here: {sorted(unknown)}")
    if "anyOf" in schema:
        yield from _any_of(value, schema, pointer)
        return
    if "type" in schema and not _TYPES[schema["type"]][1](value):
        yield Finding(pointer, f"This must be {_TYPES[schema['type']][0]}.")
        return
    for keyword, check in _CHECKS.items():
        if keyword in schema:
            yield from check(value, schema[keyword], pointer)
    if isinstance(value, dict):
        yield from _members(value, schema, pointer)


def joined(pointer: str, name: str | int) -> str:
    """The pointer of a member."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


def _any_of(value: Any, schema: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
    """Of something or null: whoever gave a value is told what is wrong with it, not that it might be null."""
    choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    if len(choices) != 1 or len(choices) == len(schema["anyOf"]):
        raise ValueError("the schema offers a choice that is not known here")
    if value is not None:
        yield from findings_of(value, choices[0], pointer)


def _members(value: Mapping[str, Any], schema: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, inner in value.items():
        if name in known:
            yield from findings_of(inner, known[name], joined(pointer, name))
        elif others is False:
            yield Finding(joined(pointer, name), "This is not a known field.")
        elif isinstance(others, Mapping):
            yield from findings_of(inner, others, joined(pointer, name))


def _required(value: Any, names: list[str], pointer: str) -> Iterator[Finding]:
    for name in names:
        if isinstance(value, dict) and name not in value:
            yield Finding(joined(pointer, name), "This is required.")


def _items(value: Any, schema: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
    for place, item in enumerate(value if isinstance(value, list) else []):
        yield from findings_of(item, schema, joined(pointer, place))


def _names(value: Any, schema: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
    for name in value if isinstance(value, dict) else []:
        yield from findings_of(name, schema, joined(pointer, name))


def _simple(broken: Callable[[Any, Any], bool], words: Callable[[Any], str]) -> Callable[..., Iterator[Finding]]:
    def check(value: Any, limit: Any, pointer: str) -> Iterator[Finding]:
        if broken(value, limit):
            yield Finding(pointer, words(limit))

    return check


def _size(
    kind: type[str] | type[list[Any]] | type[dict[str, Any]], over: Callable[[int, int], bool]
) -> Callable[[Any, Any], bool]:
    return lambda value, limit: isinstance(value, kind) and over(len(value), limit)


def _amount(over: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, limit: _is_number(value) and over(value, limit)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_date_time(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


def _is_uri(value: Any) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not re.search(r"\s", value)


def _format(value: Any, name: str, pointer: str) -> Iterator[Finding]:
    known = {
        "date-time": (_is_date_time, "This must be a date and time with its zone, such as 2026-01-31T00:00:00Z."),
        "uri": (_is_uri, "This must be a web address, such as https://example.org/privacy."),
    }
    fits, words = known[name]
    if isinstance(value, str) and not fits(value):
        yield Finding(pointer, words)


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and value == other


_TYPES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "object": ("an object", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "string": ("text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: _is_number(value) and value == int(value)),
    "number": ("a number", _is_number),
    "null": ("null", lambda value: value is None),
}
_CHECKS: Final[Mapping[str, Callable[..., Iterator[Finding]]]] = {
    "$ref": _simple(lambda _value, _limit: False, str),
    "anyOf": _simple(lambda _value, _limit: False, str),
    "type": _simple(lambda _value, _limit: False, str),
    "const": _simple(lambda value, limit: not _same(value, limit), lambda limit: f"This must be {json.dumps(limit)}."),
    "enum": _simple(
        lambda value, limit: value not in limit, lambda limit: f"This must be one of: {', '.join(map(str, limit))}."
    ),
    "pattern": _simple(
        lambda value, limit: isinstance(value, str) and not re.search(limit, value),
        lambda limit: _PATTERNS.get(limit, "This does not have the right form."),
    ),
    "minLength": _simple(_size(str, int.__lt__), lambda limit: f"This must have at least {limit} characters."),
    "maxLength": _simple(_size(str, int.__gt__), lambda limit: f"This must have at most {limit} characters."),
    "minItems": _simple(_size(list, int.__lt__), lambda limit: f"This needs at least {limit} entries."),
    "maxItems": _simple(_size(list, int.__gt__), lambda limit: f"This may have at most {limit} entries."),
    "maxProperties": _simple(_size(dict, int.__gt__), lambda limit: f"This may have at most {limit} entries."),
    "minimum": _simple(_amount(lambda value, limit: value < limit), lambda limit: f"This must be {limit} or more."),
    "maximum": _simple(_amount(lambda value, limit: value > limit), lambda limit: f"This must be {limit} or less."),
    "exclusiveMaximum": _simple(
        _amount(lambda value, limit: value >= limit), lambda limit: f"This must be less than {limit}."
    ),
    "uniqueItems": _simple(
        lambda value, _: (
            isinstance(value, list) and len({json.dumps(item, sort_keys=True) for item in value}) < len(value)
        ),
        lambda _: "names something twice",
    ),
    "format": _format,
    "required": _required,
    "items": _items,
    "propertyNames": _names,
}
