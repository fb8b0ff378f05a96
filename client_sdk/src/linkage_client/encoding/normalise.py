"""Named ways of writing values alike before they are encoded, because an encoder only matches what is written alike.

The name is part of the manifest: two providers who normalise differently would fail to match, and nobody could see why.
A profile never changes once it has been used; a change makes a new name. Placeholders ("UNKNOWN"), postcodes and
numbers with check digits belong here too, as profiles of their own.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from linkage_client.errors import LinkageClientError

DEFAULT_NORMALISATION: Final = "basic-v1"


class NormalisationError(LinkageClientError):
    """No normalisation profile has this name."""

    code = "normalisation_unknown"


@dataclass(frozen=True, slots=True)
class NormalisationProfile:
    """How values are rewritten, by what they are."""

    name: str
    text: Callable[[str], str]
    """For columns of free text: names, streets, places, postcodes."""
    coded: Callable[[str], str]
    """For columns with a format of their own (dates, integers, enumerations), which the schema goes on to check."""
    folds_case: bool


def normalisation(name: str) -> NormalisationProfile:
    """The profile of this name; NormalisationError lists the names there are."""
    if name not in PROFILES:
        raise NormalisationError(f"there is no normalisation of this name: choose one of {', '.join(sorted(PROFILES))}")
    return PROFILES[name]


def basic_text(value: str) -> str:
    """`basic-v1` for text: decomposed (NFKD), marks dropped, case folded, all between letters and digits one space.

    "José  O'Neill-Smith" becomes "jose o neill smith". Applying it twice changes nothing.
    """
    if not value.isascii():
        value = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", value).casefold())
        value = "".join([_rewritten(character) for character in value])
    else:
        value = value.translate(_ASCII)
    return " ".join(value.split())


def _rewritten(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Mn", "Me"}:
        return ""
    # Spacing marks (Mc) are vowels in the scripts of South Asia, not ornaments.
    if category[0] in "LN" or category == "Mc":
        return character.casefold()
    return " "


_ASCII: Final = {point: _rewritten(chr(point)) for point in range(128)}
PROFILES: Final[Mapping[str, NormalisationProfile]] = MappingProxyType(
    {
        "basic-v1": NormalisationProfile(name="basic-v1", text=basic_text, coded=str.strip, folds_case=True),
        "none": NormalisationProfile(name="none", text=str, coded=str, folds_case=False),
    }
)
