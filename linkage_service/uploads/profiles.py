"""The encoding profiles that the service knows, and what their encodings look like from outside.

The service never encodes, so these figures are measured, not derived: `tests/benchmarks/acceptance.py` encodes
generated people and FEBRL4 with the real encoder under several linkage schemas, 100 to 100,000 rows, and prints the
extremes. `docs/acceptance.md` has them. Bands are wider than what was seen, so that honest uploads lie inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from linkage_service.agreements.document import Tier


@dataclass(frozen=True, slots=True)
class Band:
    """What encodings of a profile look like.

    Attributes:
        tier: how well they are protected.
        bits: length of an encoding.
        fill: least and most mean share of set bits.
        column_spread: least and most spread of the columns' rates, after what chance alone makes of so many rows.
        popcount_spread: most spread of the share of set bits of a row, in multiples of what independent bits have.
        names: what it is, in words.
    """

    tier: Tier
    bits: int
    fill: tuple[float, float]
    column_spread: tuple[float, float]
    popcount_spread: float
    names: str


BANDS: Final[Mapping[str, Band]] = MappingProxyType(
    {
        # Measured: fill 0.085..0.323, columns 0.070..0.249, popcount up to 2.8 times that of independent bits.
        "clk-1024-v1": Band("plain", 1024, (0.03, 0.36), (0.03, 0.35), 5.0, "plain Bloom filters"),
        # Measured: fill 0.083..0.292 (0.2915 is what 400 insertions give), columns 0.058..0.209, popcount up to 2.5.
        "clk-fold-1024-v1": Band("folded", 1024, (0.03, 0.305), (0.03, 0.35), 5.0, "folded Bloom filters"),
        # Measured: fill 0.498..0.503, columns 0..0.086, popcount 0.89..1.03. Plain filters that are filled to one half
        # have 1.4 and more, columns of 0.074 and more.
        "saul-k3-2048-v1": Band("hardened", 2048, (0.47, 0.53), (0.0, 0.12), 1.2, "hardened encodings (SAUL)"),
    }
)


def tier_of(profile: str | None) -> Tier:
    """How well encodings of a profile are protected. One that is not known here counts as plain."""
    band = BANDS.get(profile or "")
    return band.tier if band else "plain"
