"""The ways in which two offices write the same person differently, each with a rate, so that invented files are hard in the way real ones are.

Every function takes the correct value and numbers drawn beforehand (uniform in [0, 1)), so that all randomness comes
from one seeded generator and a call costs no draw of its own.
"""  # noqa: E501 - the first line is one sentence

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from linkage_client.demo.names import NICKNAMES, SPELLINGS
from linkage_client.demo.places import POSTCODE_LETTERS

Mistake: TypeAlias = Callable[[str, float, float, float], str]

_EARLIEST: Final = date(1915, 1, 1)
_LATEST: Final = date(2025, 6, 30)
_KEYBOARD: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LOOKALIKES: Final = (
    ("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("vv", "w"), ("w", "vv"), ("li", "h"), ("l", "i"), ("i", "l"),
    ("e", "c"), ("c", "e"), ("h", "b"), ("n", "u"), ("u", "n"), ("t", "f"), ("a", "o"), ("O", "Q"), ("E", "F"),
    ("B", "E"), ("G", "C"), ("S", "5"), ("I", "l"),
)  # fmt: skip
_SOUNDALIKES: Final = (
    ("ph", "f"), ("ck", "k"), ("y", "ie"), ("ie", "y"), ("ee", "ea"), ("ea", "ee"), ("ll", "l"), ("tt", "t"),
    ("nn", "n"), ("ss", "s"), ("Mac", "Mc"), ("Mc", "Mac"), ("sch", "sh"), ("th", "t"), ("ks", "x"), ("x", "ks"),
    ("ei", "ie"), ("ou", "u"), ("au", "or"), ("gh", ""), ("k", "c"), ("c", "k"), ("z", "s"), ("s", "z"), ("i", "y"),
    ("ey", "y"), ("er", "ar"), ("on", "en"), ("el", "le"), ("oo", "u"),
)  # fmt: skip
_ABBREVIATIONS: Final = (
    ("Road", "Rd"), ("Street", "St"), ("Avenue", "Ave"), ("Close", "Cl"), ("Drive", "Dr"), ("Lane", "Ln"),
    ("Crescent", "Cres"), ("Court", "Ct"), ("Gardens", "Gdns"), ("Place", "Pl"), ("Terrace", "Terr"),
    ("Square", "Sq"), ("Grove", "Gr"),
)  # fmt: skip
_DEFAULT_MISSING: Final[Mapping[str, float]] = MappingProxyType(
    {
        "given_name": 0.006,
        "surname": 0.003,
        "date_of_birth": 0.012,
        "sex": 0.015,
        "address": 0.02,
        "town": 0.03,
        "postcode": 0.025,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRates:
    """How often each mistake happens to one copy of one value (or of one person); the defaults are an ordinary administrative file.

    Rates are probabilities per value, except `moved`, `married` (of grown women) and `swapped_names`, which are per
    person and copy. Two copies are made independently, so a pair of them differs about twice as often.
    """  # noqa: E501 - the first line is one sentence

    typing: float = 0.018
    digits: float = 0.008
    spelling: float = 0.02
    scanning: float = 0.004
    nickname: float = 0.04
    abbreviated_address: float = 0.05
    swapped_names: float = 0.006
    swapped_day_month: float = 0.006
    birthday_unknown: float = 0.003
    wrong_sex: float = 0.003
    moved: float = 0.06
    married: float = 0.05
    missing: Mapping[str, float] = field(default_factory=lambda: _DEFAULT_MISSING)

    def scaled(self, factor: float) -> "ErrorRates":
        """The same mix of mistakes, `factor` times as often; 0 gives identical copies."""
        rates = {
            item.name: min(1.0, factor * getattr(self, item.name)) for item in fields(self) if item.name != "missing"
        }
        missing = MappingProxyType({name: min(1.0, factor * rate) for name, rate in self.missing.items()})
        return replace(self, **rates, missing=missing)


def struck(rate: float, rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """The rows that a mistake of this rate hits."""
    return np.flatnonzero(rng.random(rows) < rate)


def spoil(values: NDArray[np.object_], mistake: Mistake, *, rate: float, rng: np.random.Generator) -> None:
    """Apply one mistake, in place, to a share `rate` of the values that are not empty."""
    rows = struck(rate, len(values), rng)
    for row, (first, second, third) in zip(rows.tolist(), rng.random((len(rows), 3)).tolist(), strict=True):
        if values[row]:
            values[row] = mistake(values[row], first, second, third)


def mistype(text: str, where: float, what: float, which: float) -> str:
    """One slip at the keyboard: a letter left out, doubled, exchanged with its neighbour, hit beside, or added."""
    place = int(where * len(text))
    letter = text[place]
    if what < 0.25 and len(text) > 2:  # noqa: PLR2004 - of two letters none is left out
        return text[:place] + text[place + 1 :]
    if what < 0.5:  # noqa: PLR2004 - the shares of the kinds of slip
        return text[:place] + letter + _beside(letter, which) + text[place + 1 :]
    if what < 0.7 and place + 1 < len(text):  # noqa: PLR2004 - as above
        return text[:place] + text[place + 1] + letter + text[place + 2 :]
    if what < 0.8:  # noqa: PLR2004 - as above
        return text[:place] + letter.lower() + text[place:]
    return text[:place] + _beside(letter, which) + text[place + 1 :]


def misread(text: str, where: float, _what: float, _which: float) -> str:
    """One confusion of shapes, as when a form is scanned."""
    return _exchange(text, where, _LOOKALIKES)


def misspell(name: str, where: float, what: float, _which: float) -> str:
    """Another spelling of the same sound: a known variant of the name where there is one, else by rule."""
    known = SPELLINGS.get(name)
    if known:
        return known[int(what * len(known))]
    return _exchange(name, where, _SOUNDALIKES)


def nickname(name: str, _where: float, what: float, _which: float) -> str:
    """What people call somebody of this name, or the name where nothing is known."""
    known = NICKNAMES.get(name, (name,))
    return known[int(what * len(known))]


def abbreviate(address: str, _where: float, _what: float, _which: float) -> str:
    """An address with its last word shortened."""
    for long, short in _ABBREVIATIONS:
        if address.endswith(long):
            return address.removesuffix(long) + short
    return address


def miscopy_digit(text: str, where: float, what: float, which: float) -> str:
    """One digit for another; a value without digits stays as it is."""
    places = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not places:
        return text
    place = places[int(where * len(places))]
    if what < 0.3 and place + 1 in places:  # noqa: PLR2004 - the share of exchanged neighbours
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + str((int(text[place]) + 1 + int(which * 9)) % 10) + text[place + 1 :]


def miscopy_postcode(postcode: str, where: float, what: float, which: float) -> str:
    """One wrong letter in the last two places, or one wrong digit."""
    if what < 0.5:  # noqa: PLR2004 - half of the mistakes each
        place = len(postcode) - 1 - int(where * 2)
        return postcode[:place] + POSTCODE_LETTERS[int(which * len(POSTCODE_LETTERS))] + postcode[place + 1 :]
    return miscopy_digit(postcode, where, 1.0, which)


def miscopy_date(iso: str, where: float, what: float, which: float) -> str:
    """One digit wrong, but still a date that a form would take."""
    wrong = miscopy_digit(iso, where, what, which)
    return wrong if _is_birthday(wrong) else _neighbouring_year(iso, which)


def swap_day_month(iso: str, _where: float, _what: float, _which: float) -> str:
    """The date read the American way round, where that is a date."""
    year, month, day = iso.split("-")
    swapped = f"{year}-{day}-{month}"
    return swapped if _is_birthday(swapped) else iso


def first_of_january(iso: str, _where: float, _what: float, _which: float) -> str:
    """What is written when only the year of birth is known."""
    return f"{iso[:4]}-01-01"


def other_sex(sex: str, _where: float, _what: float, _which: float) -> str:
    """The other letter."""
    return {"F": "M", "M": "F"}.get(sex, sex)


def _neighbouring_year(iso: str, which: float) -> str:
    other = f"{int(iso[:4]) + (1 if which < 0.5 else -1)}{iso[4:]}"  # noqa: PLR2004 - either way
    return other if _is_birthday(other) else iso


def _is_birthday(iso: str) -> bool:
    try:
        return _EARLIEST <= date.fromisoformat(iso) <= _LATEST
    except ValueError:
        return False


def _beside(letter: str, which: float) -> str:
    for row in _KEYBOARD:
        place = row.find(letter.lower())
        if place >= 0:
            neighbours = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            return neighbours[int(which * len(neighbours))]
    return letter


def _exchange(text: str, where: float, pairs: tuple[tuple[str, str], ...]) -> str:
    possible = [(found, new) for found, new in pairs if found in text]
    if not possible:
        return text
    found, new = possible[int(where * len(possible))]
    return text.replace(found, new, 1)
