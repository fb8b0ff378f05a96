"""Says in words what a linkage schema does, because those who sign it rarely read JSON.

Everything follows from the schema alone: no data and no secret are needed.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, assert_never

from linkage_client.encoding.derive import DatePart
from linkage_client.encoding.profiles import PROFILES, base_columns, misfits
from linkage_client.encoding.schema import (
    BitsPerFeature,
    BitsPerToken,
    BlakeHash,
    Comparison,
    DateFormat,
    DoubleHash,
    EnumFormat,
    ExactComparison,
    Feature,
    Format,
    Hashing,
    HashScheme,
    IntegerFormat,
    LinkageSchema,
    MissingValue,
    NgramComparison,
    NumericComparison,
    Strategy,
    StringFormat,
)

_PARTS: Final[Mapping[str, str]] = {part.value: part.value.replace("_", " and ") for part in DatePart}


@dataclass(frozen=True, slots=True)
class FieldExplanation:
    """One hashed feature in words."""

    identifier: str
    made_of: str
    """Which columns of the data."""
    form: str
    comparison: str
    tokens: str
    """An example of its tokens, of an invented value."""
    insertions: int | None
    """Of a record, or None where it follows from the number of tokens."""
    per_token: int | None
    """Insertions of each token, where the schema says so; under SAUL its votes."""
    share: float | None
    """Of all insertions of a record; None if any feature's number follows from its tokens."""
    strategy: str
    missing: str
    hash: str


@dataclass(frozen=True, slots=True)
class SchemaExplanation:
    """A linkage schema in words and figures."""

    digest: str
    version: int
    bits: int
    folds: int
    key_derivation: str
    columns: tuple[str, ...]
    """What a provider's file has to have."""
    ignored: tuple[str, ...]
    insertions: int | None
    expected_fill: float | None
    """Share of the bits that are set in a record with all fields."""
    fields: tuple[FieldExplanation, ...]
    profiles: tuple[str, ...]
    """Encoding profiles that it fits."""
    misfits: Mapping[str, str]
    """The other profiles, and why it does not fit them."""
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The explanation as plain JSON."""
        return {**asdict(self), "misfits": dict(self.misfits)}


def explain(schema: LinkageSchema) -> SchemaExplanation:
    """What the schema does, in words."""
    unfit = misfits(schema)
    numbers = [_insertions(feature.hashing.strategy) for feature in schema.hashed_features if feature.hashing]
    known = [number for number in numbers if number is not None]
    total = sum(known) if len(known) == len(numbers) else None
    return SchemaExplanation(
        digest=schema.digest,
        version=int(schema.document["version"]),
        bits=schema.bits,
        folds=schema.xor_folds,
        key_derivation=_key_derivation(schema),
        columns=base_columns(schema),
        ignored=tuple(feature.identifier for feature in schema.features if feature.hashing is None),
        insertions=total,
        expected_fill=None if total is None else expected_fill(schema, insertions=total),
        fields=tuple(
            _field(feature, feature.hashing, total=total) for feature in schema.hashed_features if feature.hashing
        ),
        profiles=tuple(name for name in PROFILES if name not in unfit),
        misfits=unfit,
        warnings=(*schema.warnings, *_unsafe(schema)),
    )


def expected_fill(schema: LinkageSchema, *, insertions: int) -> float:
    """Share of bits set after so many insertions at random: 1 - e^(-n/L), and 2φ(1-φ) after each fold."""
    fill = -math.expm1(-insertions / schema.filter_bits)
    for _ in range(schema.xor_folds):
        fill = 2 * fill * (1 - fill)
    return fill


def _key_derivation(schema: LinkageSchema) -> str:
    options = schema.key_derivation
    salted = "a salt of its own" if options.salt else "no salt"
    return (
        f"HKDF with {options.hash} and {salted}: two keys of {options.key_size} bytes for each column, from the "
        "project's key, which follows from the linkage secret and is not in the schema"
    )


def _unsafe(schema: LinkageSchema) -> list[str]:
    found = []
    if not schema.key_derivation.salt:
        found.append(
            "/clkConfig/kdf: there is no salt, so that whoever encodes with this secret without naming a project gets "
            "the same keys every time. `linkage schema propose` writes one"
        )
    doubled = [
        feature.identifier
        for feature in schema.hashed_features
        if feature.hashing and isinstance(feature.hashing.hash, DoubleHash)
    ]
    if doubled:
        found.append(
            f"doubleHash makes patterns that are easy to mine ({', '.join(doubled)}): take blakeHash, unless old "
            "encodings have to be matched"
        )
    return found


def _field(feature: Feature, hashing: Hashing, *, total: int | None) -> FieldExplanation:
    insertions = _insertions(hashing.strategy)
    share = None if insertions is None or not total else insertions / total
    return FieldExplanation(
        identifier=feature.identifier,
        made_of=_made_of(feature.identifier),
        form=_form(hashing.format),
        comparison=_comparison(hashing.comparison),
        tokens=_tokens(hashing.comparison),
        insertions=insertions,
        per_token=hashing.strategy.bits if isinstance(hashing.strategy, BitsPerToken) else None,
        share=share,
        strategy=_strategy(hashing.strategy),
        missing=_missing(hashing.missing),
        hash=_hash(hashing.hash),
    )


def _made_of(identifier: str) -> str:
    source, _, part = identifier.rpartition(".")
    if source and part in _PARTS:
        return f"{_PARTS[part]} of {source}"
    names = identifier.split("+")
    if len(names) > 1 and all(names):
        return " and ".join(names) + ", joined by a space"
    return f"column {identifier}"


def _form(form: Format) -> str:
    match form:
        case StringFormat():
            limits = [f"in {form.case} case"] if form.case != "mixed" else []
            if form.pattern is not None:
                limits.append("that matches a pattern")
            if form.minimum_length is not None:
                limits.append(f"of at least {form.minimum_length} characters")
            if form.maximum_length is not None:
                limits.append(f"of at most {form.maximum_length} characters")
            return " ".join(("text", *limits)) + ("" if form.encoding == "utf-8" else f", encoded in {form.encoding}")
        case IntegerFormat():
            low = "" if form.minimum is None else f" from {form.minimum}"
            high = "" if form.maximum is None else f" up to {form.maximum}"
            return f"whole number{low}{high}"
        case DateFormat():
            return f"date written as {form.format}"
        case EnumFormat():
            return f"one of {len(form.values)} values"
        case _:
            assert_never(form)


def _comparison(comparison: Comparison) -> str:
    match comparison:
        case ExactComparison():
            return "equal or not"
        case NgramComparison():
            return _grams(comparison)
        case NumericComparison():
            distance = comparison.distance_interval / 10**comparison.fractional_precision
            return f"by closeness, up to a distance of {distance:g}"
        case _:
            assert_never(comparison)


def _grams(comparison: NgramComparison) -> str:
    if comparison.positional:
        return "place by place" if comparison.n == 1 else f"by {comparison.n} characters in a row at their place"
    named = {1: "by the characters that occur", 2: "by pairs of letters"}
    return named.get(comparison.n, f"by {comparison.n} letters in a row")


def _tokens(comparison: Comparison) -> str:
    match comparison:
        case ExactComparison():
            return "the whole value is the only token"
        case NgramComparison():
            n = comparison.n
            padded = " " * (n - 1) + "anna" + " " * (n - 1)
            grams = [padded[i : i + n].replace(" ", "_") for i in range(len(padded) - n + 1)]
            listed = [f"{i} {gram}" for i, gram in enumerate(grams, start=1)] if comparison.positional else grams
            return "anna gives " + ", ".join(listed)
        case NumericComparison():
            return f"{2 * comparison.resolution + 1} numbers around the value"
        case _:
            assert_never(comparison)


def _insertions(strategy: Strategy) -> int | None:
    return strategy.bits if isinstance(strategy, BitsPerFeature) else None


def _strategy(strategy: Strategy) -> str:
    match strategy:
        case BitsPerFeature(bits=bits):
            return f"{bits} insertions for the whole value, dealt out to its tokens"
        case BitsPerToken(bits=bits):
            return f"{bits} insertions for each token, so that long values weigh more"
        case _:
            assert_never(strategy)


def _missing(missing: MissingValue | None) -> str:
    if missing is None:
        return "empty values set no bit"
    what = "an empty value" if not missing.sentinel else "the missing value that the schema names"
    if not missing.replacement:
        return f"{what} sets no bit"
    if missing.replacement == missing.sentinel:
        return f"{what} is encoded as if it were a value: records without one look alike"
    return f"{what} is encoded as a word of the schema"


def _hash(scheme: HashScheme) -> str:
    match scheme:
        case BlakeHash():
            return "blakeHash (keyed BLAKE2b)"
        case DoubleHash():
            guarded = ", without singularity" if scheme.prevent_singularity else ""
            return f"doubleHash (HMAC-SHA1 and HMAC-MD5{guarded})"
        case _:
            assert_never(scheme)
