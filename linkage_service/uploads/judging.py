"""Judges an upload by its statistics: what it cannot be, and what should be looked at.

Refused is only what is certain: nothing but one row, empty rows, noise where a profile leaves a pattern, and plain or
folded filters that claim a hardened profile. Everything else is accepted with findings, for a band was measured on a
few kinds of registers and a provider's may be another. Uploads below `JUDGED_FROM` rows are too small for most of it.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Final, Literal

from linkage_service.uploads.profiles import BANDS, Band
from linkage_service.uploads.statistics import Statistics

JUDGED_FROM: Final = 100
"""Rows. In fewer, chance moves every figure but the fill of hardened encodings too far."""
MOST_NEAR: Final = 20
"""Different rows near to one another. No honest register of up to 100,000 rows that was measured had more than 8."""
MOST_EQUAL: Final = 20
"""Equal rows; of large uploads the root of their rows. Measured: 34 in 100,000 with surname and postcode alone."""
MOST_IN_CLUSTER: Final = 14
"""Of a sample of 2,048 hardened encodings. No honest register that was measured had more than 2."""
_MEASURED_ROWS = 100_000
_FILL_OF_FEW = (0.42, 0.58)
_DEVIATIONS = 5.0
_NOISE_COLUMNS = 0.02
_NOISE_POPCOUNT = (0.8, 1.25)
_NOISE_FILL = (0.45, 0.55)

Code = Literal[
    "outside_profile",
    "near_duplicates",
    "many_equal",
    "empty_rows",
    "small_difference",
    "frequent_uploads",
]
RefusalCode = Literal["not_encodings", "not_the_profile"]


@dataclass(frozen=True, slots=True)
class Found:
    """Something that should be looked at. `message` says nothing about a row."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an upload is not taken."""

    code: RefusalCode
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of an upload."""

    refusal: Reason | None
    findings: tuple[Found, ...]


_NOTHING = Reason(
    "not_encodings",
    "These are no encodings of people: all rows are the same, or rows have no bit or every bit set. Nothing could be "
    "linked. Check the file that was encoded, and encode again.",
)
_NOISE = Reason(
    "not_encodings",
    "These bits are random, which encodings of the declared profile never are: they were encrypted, cut in another "
    "place, or not made by an encoder. Nothing could be linked. Encode again.",
)
_EMPTY = Found(
    "empty_rows",
    "Some rows have no bit or every bit set, so that they say nothing and can match nobody. Leave out records without "
    "values before encoding.",
)
_NEAR = Found(
    "near_duplicates",
    "Many different rows lie within a few bits of one another, as variants of one person do. A register of people does "
    "not look like this; somebody who probes for a person does. Say where they come from.",
)
_EQUAL = Found(
    "many_equal",
    "One row occurs unusually often. Look for records that hold one person again and again, placeholder values, or a "
    "linkage schema with too few fields.",
)


def judge(statistics: Statistics, *, profile: str | None, bits: int) -> Verdict:
    """What comes of an upload with these statistics.

    Args:
        statistics: of its bits.
        profile: the encoding profile that its manifest claims. Of one that is not known here nothing is expected.
        bits: length of an encoding.
    """
    if statistics.empty + statistics.full >= 1 or (statistics.repeats >= statistics.rows >= MOST_EQUAL):
        return Verdict(_NOTHING, ())
    band = BANDS.get(profile or "")
    if band is not None and (refusal := _certainly_not(band, statistics, bits=bits)):
        return Verdict(refusal, ())
    return Verdict(None, tuple(_findings(statistics, band, bits=bits)))


def _certainly_not(band: Band, statistics: Statistics, *, bits: int) -> Reason | None:
    enough = statistics.rows >= JUDGED_FROM
    if band.tier != "hardened":
        low, high = _NOISE_POPCOUNT
        noise = (
            enough
            and _NOISE_FILL[0] <= statistics.fill <= _NOISE_FILL[1]
            and _column_spread(statistics) < _NOISE_COLUMNS
            and low <= _popcount_ratio(statistics, bits=bits) <= high
        )
        return _NOISE if noise else None
    least, most = band.fill if enough else _FILL_OF_FEW
    plain = bits != band.bits or not least <= statistics.fill <= most
    if enough:
        # The standard deviation of n rows is itself known to one part in the root of 2n.
        by_chance = 1 + _DEVIATIONS / sqrt(2 * statistics.rows)
        plain |= _popcount_ratio(statistics, bits=bits) > band.popcount_spread * by_chance
        plain |= _column_spread(statistics) > band.column_spread[1]
    if not plain:
        return None
    return Reason(
        "not_the_profile",
        f"The manifest claims {band.names}, and the bits are not such: they look like plain or folded Bloom filters, "
        "which protect people less than the agreement's element 5 (data security) counts on. Nothing of them is kept. "
        "Encode again with the declared profile.",
    )


def _findings(statistics: Statistics, band: Band | None, *, bits: int) -> list[Found]:
    found = []
    if statistics.empty + statistics.full > 0:
        found.append(_EMPTY)
    if statistics.rows < JUDGED_FROM:
        return found
    if band is not None and band.tier != "hardened" and not _inside(band, statistics, bits=bits):
        found.append(
            Found(
                "outside_profile",
                f"The bits do not look like {band.names} of the declared profile. Check that the right profile was "
                "declared, and that the linkage schema is the agreed one.",
            )
        )
    if statistics.repeats > max(MOST_EQUAL, sqrt(statistics.rows)):
        found.append(_EQUAL)
    hardened = band is not None and band.tier == "hardened"
    dense = statistics.burst > MOST_NEAR * max(1.0, sqrt(statistics.rows / _MEASURED_ROWS))
    if dense or (hardened and statistics.cluster > MOST_IN_CLUSTER):
        found.append(_NEAR)
    return found


def _inside(band: Band, statistics: Statistics, *, bits: int) -> bool:
    least, most = band.column_spread
    return (
        band.fill[0] <= statistics.fill <= band.fill[1]
        and least <= _column_spread(statistics) <= most
        and _popcount_ratio(statistics, bits=bits) <= band.popcount_spread
    )


def _column_spread(statistics: Statistics) -> float:
    """The spread of column rates without what chance makes of so few rows."""
    by_chance = statistics.fill * (1 - statistics.fill) / max(statistics.rows, 1)
    return sqrt(max(statistics.column_spread**2 - by_chance, 0.0))


def _popcount_ratio(statistics: Statistics, *, bits: int) -> float:
    """The spread of a row's set bits, beside that of independent bits of the same fill."""
    independent = sqrt(statistics.fill * (1 - statistics.fill) / bits)
    return statistics.popcount_spread / independent if independent else 0.0
