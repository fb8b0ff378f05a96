"""Encoding profiles: named encoder parameters, so that parties agree on one word and none of them on a misprint.

A profile says how a linkage schema is encoded, what the schema has to look like for that, and how the matcher compares
the result. Parties may give the parameters of a plain clkhash schema a name of their own; names that begin like ours
are kept for ours, because a name that is nearly right must not quietly give another protection than was signed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from linkage_client.encoding.derive import DatePart
from linkage_client.encoding.encoder import Column, Encoder, Progress, distinct
from linkage_client.encoding.formats import format_values
from linkage_client.encoding.saul import SaulEncoder, damped_votes
from linkage_client.encoding.schema import BitsPerFeature, BlakeHash, LinkageSchema
from linkage_client.encoding.tokens import tokenise
from linkage_client.errors import SchemaError

Similarity = Literal["dice", "simple_matching"]

INSERTIONS: Final = 400
"""Of a whole record: about 0.31 of 1024 bits are then set, -l·ln(1-φ)."""
SAUL_FIELDS: Final = 5
SAUL_TOKENS: Final = 40
"""With fewer, one token sways the majority, and the encoding leaks as a Bloom filter does."""
_RESERVED: Final = re.compile(r"(?:clk|saul)(?![a-z])")


class RecordEncoder(Protocol):
    """What turns columns into encodings, under any profile. Can be pickled, so that workers get it."""

    schema: LinkageSchema

    def encode_columns(
        self,
        columns: Mapping[str, Column] | Sequence[Column],
        *,
        first_row: int = 1,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> NDArray[np.uint8]:
        """Encodings of all rows: shape (rows, bits // 8). As `Encoder.encode_columns`."""
        ...


@dataclass(frozen=True, slots=True)
class EncodingProfile:
    """Named encoder parameters."""

    name: str
    describe: str
    """One sentence."""
    suits: str
    """Whom it is for, and what it protects against."""
    bits: int
    """Length of an encoding."""
    folds: int
    """How often a filter is folded by XOR to get there."""
    similarity: Similarity
    """How the matcher compares encodings of this profile."""
    fewest_fields: int
    """Columns of the data that have to take part, whatever is derived of them."""
    fewest_tokens: int
    """Records with fewer tokens are encoded, but protected less; see `token_counts`."""
    encoder: Callable[[LinkageSchema, bytes | str], RecordEncoder]

    def check(self, schema: LinkageSchema) -> None:
        """Raises SchemaError that says why the schema does not fit the profile."""
        wanted = f"the encoding profile {self.name}"
        if schema.xor_folds != self.folds:
            does = {0: "does not fold", 1: "folds once"}.get(self.folds, f"folds {self.folds} times")
            has = f"xor_folds {schema.xor_folds}" if schema.xor_folds else "no xor_folds"
            raise SchemaError(f"{wanted} {does}, and the schema has {has}", pointer="/clkConfig/xor_folds")
        if schema.bits != self.bits:
            raise SchemaError(
                f"{wanted} has encodings of {self.bits} bits, and the schema has {schema.bits}", pointer="/clkConfig/l"
            )
        for feature in schema.hashed_features:
            if feature.hashing is not None and not isinstance(feature.hashing.hash, BlakeHash):
                raise SchemaError(
                    f"{wanted} hashes with blakeHash only", pointer=f"/features/{feature.index}/hashing/hash"
                )
        fields = base_columns(schema)
        if len(fields) < self.fewest_fields:
            raise SchemaError(
                f"{wanted} needs at least {self.fewest_fields} columns of the data, and the schema has {len(fields)} "
                f"({', '.join(fields)}). With fewer it protects hardly better than a Bloom filter",
                pointer="/features",
            )
        if self.similarity == "dice":
            self._check_insertions(schema)

    def _check_insertions(self, schema: LinkageSchema) -> None:
        total = 0
        for feature in schema.hashed_features:
            strategy = feature.hashing.strategy if feature.hashing else None
            if not isinstance(strategy, BitsPerFeature):
                raise SchemaError(
                    f"the encoding profile {self.name} fixes the insertions of a record, so that each feature needs "
                    "bitsPerFeature",
                    pointer=f"/features/{feature.index}/hashing/strategy",
                )
            total += strategy.bits
        if total > INSERTIONS:
            raise SchemaError(
                f"the encoding profile {self.name} has at most {INSERTIONS} insertions in a record, and the features "
                f"have {total} together",
                pointer="/features",
            )


DEFAULT_PROFILE: Final = "clk-1024-v1"
PROFILES: Final[Mapping[str, EncodingProfile]] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            EncodingProfile(
                name="clk-1024-v1",
                describe=f"Bloom filters of 1024 bits as clkhash makes them, {INSERTIONS} insertions a record.",
                suits="a linkage unit that all parties trust: who holds the encodings can re-identify most records",
                bits=1024,
                folds=0,
                similarity="dice",
                fewest_fields=1,
                fewest_tokens=0,
                encoder=Encoder,
            ),
            EncodingProfile(
                name="clk-fold-1024-v1",
                describe=f"Bloom filters of 2048 bits, {INSERTIONS} insertions a record, folded once by XOR.",
                suits="a linkage unit that is mostly trusted: patterns are harder to mine, graph matching goes on",
                bits=1024,
                folds=1,
                similarity="dice",
                fewest_fields=1,
                fewest_tokens=0,
                encoder=Encoder,
            ),
            EncodingProfile(
                name="saul-k3-2048-v1",
                describe="Majority bits of three keyed tables, XORed, 2048 bits (SAUL, Armknecht and Schäfer 2026).",
                suits="a linkage unit that is not trusted with Bloom filters; experimental, and a little less accurate",
                bits=2048,
                folds=0,
                similarity="simple_matching",
                fewest_fields=SAUL_FIELDS,
                fewest_tokens=SAUL_TOKENS,
                encoder=SaulEncoder,
            ),
        )
    }
)


def profile_named(name: str) -> EncodingProfile:
    """One of `PROFILES`. Raises SchemaError for another name."""
    if name not in PROFILES:
        raise SchemaError(f"there is no encoding profile of this name. There are: {', '.join(PROFILES)}")
    return PROFILES[name]


def own_profile(name: str | None) -> EncodingProfile | None:
    """The profile of this name, or None where it is the parties' own name for a plain clkhash schema.

    Raises SchemaError for a name that begins like one of ours and is none.
    """
    if name is None or (name not in PROFILES and not _RESERVED.match(name.strip().casefold())):
        return None
    return profile_named(name)


def require_clkhash(name: str | None) -> None:
    """Make sure that clkhash itself can make encodings of a profile.

    Raises:
        SchemaError: it cannot, or the name begins like one of ours and is none.
    """
    found = own_profile(name)
    if found is not None and found.encoder is not Encoder:
        raise SchemaError(
            f"clkhash cannot make encodings of the profile {found.name}, which the agreement asks for. Encode with "
            "`linkage encode`"
        )


def misfits(schema: LinkageSchema) -> dict[str, str]:
    """The profiles that a schema does not fit, each with the reason."""
    reasons = {}
    for name, profile in PROFILES.items():
        try:
            profile.check(schema)
        except SchemaError as error:
            reasons[name] = str(error)
    return reasons


def untaken_profiles(schema: LinkageSchema, profile: str | None) -> tuple[str, ...]:
    """Profiles that the schema may be meant for while `profile` has it encoded into plain Bloom filters.

    A schema for SAUL is a plain clkhash schema too, and would protect nobody if it were read as one by mistake.
    """
    if own_profile(profile) is not None:
        return ()
    unfit = misfits(schema)
    return tuple(name for name, other in PROFILES.items() if name not in unfit and other.encoder is not Encoder)


def encoder_for(schema: LinkageSchema, secret: bytes | str, *, profile: str | None = None) -> RecordEncoder:
    """The encoder of a profile. Without a profile, or with a name of the parties' own, the schema alone decides.

    Raises:
        SchemaError: the schema does not fit the profile, or the name begins like one of ours and is none.
        SecretError: the secret is empty.
    """
    found = own_profile(profile)
    if found is None:
        return Encoder(schema, secret)
    found.check(schema)
    return found.encoder(schema, secret)


def schema_for(schema: LinkageSchema, profile: str, *, tokens: Mapping[str, float] | None = None) -> LinkageSchema:
    """The same features with the length and the folds of another profile: what a comparison of profiles encodes with.

    Args:
        schema: to be turned into one of the profile.
        profile: name of the other profile.
        tokens: mean number of tokens of each feature, see `mean_token_counts`. With it a schema for Bloom filters gets
            the votes for SAUL that a proposal gives; without, votes in full proportion to its insertions.

    Raises SchemaError where the features do not fit the profile, or there is none of this name.
    """
    wanted = profile_named(profile)
    document = schema.document
    config = {name: value for name, value in document["clkConfig"].items() if name not in {"xorFolds", "xor_folds"}}
    config["l"] = wanted.bits
    if wanted.folds:
        config["xor_folds"] = wanted.folds
    features = document["features"]
    if tokens is not None and wanted.encoder is SaulEncoder and schema.bits != wanted.bits:
        features = _with_votes(schema, tokens)
    fitting = LinkageSchema.parse({**document, "clkConfig": config, "features": features})
    wanted.check(fitting)
    return fitting


def _with_votes(schema: LinkageSchema, tokens: Mapping[str, float]) -> list[dict[str, Any]]:
    """The features of the document, those with insertions for a whole value with damped votes instead."""
    insertions = {
        feature.index: float(feature.hashing.strategy.bits)
        for feature in schema.hashed_features
        if feature.hashing is not None and isinstance(feature.hashing.strategy, BitsPerFeature)
    }
    names = [schema.features[index].identifier for index in insertions]
    votes = damped_votes(list(insertions.values()), tokens=[max(tokens[name], 1.0) for name in names])
    voted = dict(zip(insertions, votes, strict=True))
    return [
        {**feature, "hashing": {**feature["hashing"], "strategy": {"bitsPerToken": voted[index]}}}
        if index in voted
        else feature
        for index, feature in enumerate(schema.document["features"])
    ]


def base_columns(schema: LinkageSchema) -> tuple[str, ...]:
    """The columns of the data that the hashed features are made of, each once."""
    parts = {part.value for part in DatePart}
    found: dict[str, None] = {}
    for identifier in schema.hashed_fields:
        source, _, part = identifier.rpartition(".")
        names = identifier.split("+")
        if source and part in parts:
            found[source] = None
        elif all(names):
            found.update(dict.fromkeys(names))
        else:
            found[identifier] = None
    return tuple(found)


def token_counts(schema: LinkageSchema, columns: Mapping[str, Column]) -> NDArray[np.int64]:
    """How many tokens each record has: columns by feature, as for `encode_columns`. Repeated tokens count each time."""
    counts = [tokens for _, tokens in _counted(schema, columns)]
    return np.sum(counts, axis=0) if counts else np.zeros(0, np.int64)


def mean_token_counts(schema: LinkageSchema, columns: Mapping[str, Column]) -> dict[str, float]:
    """How many tokens a value of each hashed feature has on average, where there is one; 0 where there is none."""
    return {
        identifier: float(tokens[tokens > 0].mean()) if tokens.any() else 0.0
        for identifier, tokens in _counted(schema, columns)
    }


def _counted(schema: LinkageSchema, columns: Mapping[str, Column]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    for feature in schema.hashed_features:
        if feature.hashing is None:
            continue
        found = distinct(columns[feature.identifier])
        values = format_values(feature.hashing, found.values).values
        tokens = tokenise(values, comparison=feature.hashing.comparison, strategy=feature.hashing.strategy)
        yield feature.identifier, tokens.counts[found.codes]
