"""Invented people, in files as several British public bodies would hold them, with the truth about who is who.

It lets anyone try, test and measure a linkage without personal data. People live in households, so the hard cases of
real files are here: twins, father and son, flatmates, a name changed on marriage, a house moved. The same arguments
give the same files.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from linkage_client.demo import mistakes
from linkage_client.demo.names import (
    BRITISH_GIVEN_NAMES,
    COMMUNITY_GIVEN_NAMES,
    COMMUNITY_SHARES,
    COMMUNITY_SURNAMES,
    FEMALE,
    MALE,
    SURNAME_BEGINNINGS,
    SURNAME_ENDINGS,
    SURNAME_FATHERS,
    TIMELESS_GIVEN_NAMES,
)
from linkage_client.demo.places import POSTCODE_LETTERS, STREET_BEGINNINGS, STREET_ENDINGS, TOWNS

Codes: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.object_]

COLUMNS: Final = ("given_name", "surname", "date_of_birth", "sex", "address", "town", "postcode")
FEWEST_PROVIDERS: Final = 2
MOST_PROVIDERS: Final = 10

_BRITISH: Final = 0
_COMMUNITIES: Final = tuple(COMMUNITY_SHARES)
_SEXES: Final = (FEMALE, MALE)
_LAST_BIRTHDAY: Final = np.datetime64("2025-06-30", "D").astype(np.int64)
_DAYS_A_YEAR: Final = 365.25
_GROWN_UP_YEARS: Final = 20
_FIRST_DECADE: Final = 1930
_LAST_DECADE: Final = 2020
_SMALLEST_MEAN_HOUSEHOLD: Final = (
    1.9  # below what the shares of households give, so that there are always enough people
)
# A provider mostly knows whole households, as a landlord or a practice does, but not every member is in every file.
_KNOWN_ALONE: Final = 0.15
_RARE_SURNAMES: Final = 0.36
_DOUBLE_BARRELLED: Final = 0.02
_FEMALE_FORMS: Final[Mapping[str, str]] = {"Singh": "Kaur"}
_MALE_FORMS: Final[Mapping[str, str]] = {
    "Kaur": "Singh",
    "Begum": "Ahmed",
    "Bibi": "Khan",
    "Khatun": "Miah",
    "Parveen": "Mahmood",
    "Sultana": "Rahman",
    "Kausar": "Hussain",
}


@dataclass(frozen=True, slots=True)
class ProviderFile:
    """What one provider holds: its record ids, its columns by name, and, row by row, the entity it is about."""

    provider: str
    record_ids: tuple[str, ...]
    columns: Mapping[str, list[str]]
    entities: Codes

    def __len__(self) -> int:
        return len(self.record_ids)


@dataclass(frozen=True, slots=True)
class People:
    """Files of two and more providers about overlapping sets of people."""

    files: tuple[ProviderFile, ...]

    def write(self, directory: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write `<provider>.csv` for each provider and `truth.csv` (provider, record_id, entity); return the paths.

        Raises FileExistsError where a file is there already and `overwrite` is false; nothing is written then.
        """
        paths = (*(directory / f"{file.provider}.csv" for file in self.files), directory / "truth.csv")
        present = [path.name for path in paths if path.exists()]
        if present and not overwrite:
            raise FileExistsError(
                f"{', '.join(present)} already in the directory. Nothing was written. "
                "Choose another directory, or allow overwriting."
            )
        directory.mkdir(parents=True, exist_ok=True)
        for path, file in zip(paths, self.files, strict=False):
            rows = zip(file.record_ids, *file.columns.values(), strict=True)
            _write_csv(path, header=("record_id", *file.columns), rows=rows)
        truth = (
            (file.provider, record_id, f"E{entity:07d}")
            for file in self.files
            for record_id, entity in zip(file.record_ids, file.entities.tolist(), strict=True)
        )
        _write_csv(paths[-1], header=("provider", "record_id", "entity"), rows=truth)
        return paths


def generate(
    providers: Sequence[str] = ("council", "hospital"),
    rows: int = 5_000,
    *,
    overlap: float = 0.5,
    seed: int = 1,
    errors: mistakes.ErrorRates | None = None,
) -> People:
    """Invent `rows` people for each provider, a share `overlap` of whom another provider knows as well.

    With three and more providers half of the shared rows are of people known to all of them, the others of people known
    to two neighbours in the given order. No provider holds a person twice. Rows are in random order, and record ids say
    nothing of the entity.
    """
    _check(providers, rows=rows, overlap=overlap)
    rng = np.random.default_rng(seed)
    members = _membership(len(providers), rows=rows, overlap=overlap)
    everybody = _population(1 + max(int(held.max()) for held in members), rng)
    rates = errors or mistakes.ErrorRates()
    files = [
        _file(provider, everybody, rng.permutation(held), rates=rates, rng=rng)
        for provider, held in zip(providers, members, strict=True)
    ]
    return People(tuple(files))


def _check(providers: Sequence[str], *, rows: int, overlap: float) -> None:
    if not FEWEST_PROVIDERS <= len(providers) <= MOST_PROVIDERS:
        raise ValueError(
            f"{len(providers)} providers were named. Name between {FEWEST_PROVIDERS} and {MOST_PROVIDERS}."
        )
    if len(set(providers)) != len(providers):
        raise ValueError(
            "A provider is named twice, and each gets a file of its own. Give every provider another name."
        )
    unsafe = [name for name in providers if not name or not all(c.isalnum() or c in "-_" for c in name)]
    if unsafe or "truth" in providers:
        raise ValueError(
            "A provider's name becomes a file name. Use letters, digits, - and _ only, and not the name truth."
        )
    if rows < 1:
        raise ValueError(f"{rows} rows were asked for. Ask for at least 1.")
    if not 0 <= overlap <= 1:
        raise ValueError("The overlap is a share of the rows. Give a number between 0 and 1.")


def _membership(providers: int, *, rows: int, overlap: float) -> list[Codes]:
    """Which entities each provider holds: a core, people shared with the next provider in a ring, and its own."""
    shared = round(rows * overlap)
    beside = 0 if providers == FEWEST_PROVIDERS else shared // 4
    core = shared - 2 * beside
    alone = rows - shared
    held = []
    for place in range(providers):
        previous = (place - 1) % providers
        held.append(
            np.concatenate(
                [
                    np.arange(core),
                    core + place * beside + np.arange(beside),
                    core + previous * beside + np.arange(beside),
                    core + providers * beside + place * alone + np.arange(alone),
                ]
            ).astype(np.int64)
        )
    return held


# --- who lives with whom ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entities:
    """The correct values of every person, and what an out-of-date copy would say instead."""

    given_name: Words
    surname: Words
    other_surname: Words
    date_of_birth: Words
    sex: Words
    address: Words
    town: Words
    postcode: Words
    former_address: Words
    former_town: Words
    former_postcode: Words
    may_marry: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Persons:
    """People as codes: whole households, before anybody is left out."""

    household: Codes
    born: Codes
    sex: Codes
    community: Codes
    surname: Codes
    other_surname: Codes
    grown_up: NDArray[np.bool_]

    def take(self, rows: Codes) -> "_Persons":
        return _Persons(
            self.household[rows],
            self.born[rows],
            self.sex[rows],
            self.community[rows],
            self.surname[rows],
            self.other_surname[rows],
            self.grown_up[rows],
        )


def _population(count: int, rng: np.random.Generator) -> _Entities:
    households = 50 + int(count / _SMALLEST_MEAN_HOUSEHOLD)
    surnames = _Surnames.build()
    everyone = _households(households, surnames, rng)
    persons = everyone.take(_together(everyone.household, rng)[:count])
    addresses = _Addresses.draw(households, rng)
    former = _Addresses.draw(count, rng).moved_within_town(addresses.town[persons.household], rng)
    sex = np.array(_SEXES, dtype=object)[persons.sex]
    address, town, postcode = addresses.words(persons.household)
    former_address, former_town, former_postcode = former.words(np.arange(count))
    return _Entities(
        given_name=_given_names(persons, rng),
        surname=_gendered(surnames.words[persons.surname], persons.sex),
        other_surname=_gendered(surnames.words[persons.other_surname], persons.sex),
        date_of_birth=persons.born.astype("datetime64[D]").astype(str).astype(object),
        sex=sex,
        address=address,
        town=town,
        postcode=postcode,
        former_address=former_address,
        former_town=former_town,
        former_postcode=former_postcode,
        may_marry=persons.grown_up & (persons.sex == _SEXES.index(FEMALE)),
    )


def _together(household: Codes, rng: np.random.Generator) -> Codes:
    """Everybody in random order, but most of a household next to each other, so that the same files hold them."""
    place = rng.random(int(household.max()) + 1)[household]
    alone = rng.random(len(household)) < _KNOWN_ALONE
    place[alone] = rng.random(int(alone.sum()))
    return np.argsort(place, kind="stable")


def _households(count: int, surnames: "_Surnames", rng: np.random.Generator) -> _Persons:
    """Adults first (one or two a household, more where people share a flat), then children."""
    shares = np.array(list(COMMUNITY_SHARES.values()))
    community = rng.choice(len(shares), size=count, p=shares / shares.sum()).astype(np.int64)
    name = surnames.draw(community, rng)
    kinds = rng.choice(5, size=count, p=[0.31, 0.27, 0.24, 0.1, 0.08])
    single, couple, family, lone_parent, flat = (kinds == kind for kind in range(5))
    age = np.select(
        [single, couple, family, lone_parent],
        [
            20 + 75 * rng.beta(1.6, 1.0, count),
            22 + 68 * rng.beta(2.4, 1.4, count),
            24 + 40 * rng.beta(2.2, 2.0, count),
            18 + 42 * rng.beta(2.0, 2.0, count),
        ],
        default=19 + 26 * rng.beta(1.2, 2.5, count),
    )
    born = (_LAST_BIRTHDAY - age * _DAYS_A_YEAR).astype(np.int64)
    sex = np.where(lone_parent, rng.random(count) < 0.14, rng.random(count) < 0.5).astype(np.int64)  # noqa: PLR2004 - 1 is male
    everywhere = np.arange(count)
    heads = _Persons(everywhere, born, sex, community, name, surnames.draw(community, rng), np.ones(count, bool))
    parts = [
        heads,
        _partners(heads.take(np.flatnonzero(couple | family)), surnames, rng),
        _flatmates(heads.take(np.flatnonzero(flat)), surnames, rng),
        _children(heads.take(np.flatnonzero(family | lone_parent)), rng),
    ]
    return _Persons(
        *(
            np.concatenate([getattr(part, column) for part in parts])
            for column in ("household", "born", "sex", "community", "surname", "other_surname", "grown_up")
        )
    )


def _partners(heads: _Persons, surnames: "_Surnames", rng: np.random.Generator) -> _Persons:
    count = len(heads.born)
    oldest = _LAST_BIRTHDAY - int(18 * _DAYS_A_YEAR)
    born = np.minimum(heads.born + (rng.normal(0, 3.5, count) * _DAYS_A_YEAR).astype(np.int64), oldest)
    sex = np.where(rng.random(count) < 0.98, 1 - heads.sex, heads.sex)  # noqa: PLR2004 - couples of one sex
    strangers = rng.choice(len(COMMUNITY_SHARES), size=count).astype(np.int64)
    community = np.where(rng.random(count) < 0.93, heads.community, strangers)  # noqa: PLR2004 - mixed couples
    own = surnames.draw(community, rng)
    shares_name = rng.random(count) < 0.74  # noqa: PLR2004 - couples of one surname
    return _Persons(
        heads.household,
        born,
        sex,
        community,
        np.where(shares_name, heads.surname, own),
        np.where(shares_name, own, heads.surname),
        np.ones(count, bool),
    )


def _flatmates(heads: _Persons, surnames: "_Surnames", rng: np.random.Generator) -> _Persons:
    rows = np.repeat(np.arange(len(heads.born)), rng.integers(1, 4, len(heads.born)))
    count = len(rows)
    shares = np.array(list(COMMUNITY_SHARES.values()))
    community = rng.choice(len(shares), size=count, p=shares / shares.sum()).astype(np.int64)
    age = 19 + 26 * rng.beta(1.2, 2.5, count)
    return _Persons(
        heads.household[rows],
        (_LAST_BIRTHDAY - age * _DAYS_A_YEAR).astype(np.int64),
        rng.integers(0, 2, count),
        community,
        surnames.draw(community, rng),
        surnames.draw(community, rng),
        np.ones(count, bool),
    )


def _children(parents: _Persons, rng: np.random.Generator) -> _Persons:
    """One to four children at 17 to 44 years of a parent's age, 13 months and more apart, but for twins."""
    count = len(parents.born)
    number = rng.choice([1, 2, 3, 4], size=count, p=[0.44, 0.39, 0.13, 0.04])
    parent_age = (_LAST_BIRTHDAY - parents.born) / _DAYS_A_YEAR
    eldest_age = np.minimum(np.abs(parent_age - np.clip(rng.normal(29, 5, count), 17, 44)), parent_age - 17)
    eldest_born = (_LAST_BIRTHDAY - np.maximum(eldest_age, 0.05) * _DAYS_A_YEAR).astype(np.int64)
    rows = np.repeat(np.arange(count), number)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(number) - number, number)
    gap = place * rng.integers(400, 1200, len(rows))
    twin = (place == 1) & (rng.random(len(rows)) < 0.03)  # noqa: PLR2004 - a little above the British rate of twins
    born = np.where(twin, eldest_born[rows], eldest_born[rows] + gap)
    born = np.where(born > _LAST_BIRTHDAY, eldest_born[rows] - gap, born)
    return _Persons(
        parents.household[rows],
        born,
        rng.integers(0, 2, len(rows)),
        parents.community[rows],
        parents.surname[rows],
        parents.other_surname[rows],
        (_LAST_BIRTHDAY - born) > _GROWN_UP_YEARS * _DAYS_A_YEAR,
    )


# --- names -----------------------------------------------------------------------------------------------------------


def _falling(count: int, *, offset: float, exponent: float) -> NDArray[np.float64]:
    """Shares that fall with the rank as frequencies of names do (Zipf and Mandelbrot)."""
    weights = np.power(np.arange(count, dtype=np.float64) + offset, -exponent)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


@dataclass(frozen=True, slots=True)
class _Surnames:
    """Every surname once, and for each community the codes of its own with their cumulated shares."""

    words: Words
    codes: tuple[Codes, ...]
    cumulated: tuple[NDArray[np.float64], ...]

    @classmethod
    def build(cls) -> "_Surnames":
        code_of: dict[str, int] = {}
        codes, cumulated = [], []
        for community in _COMMUNITIES:
            common = list(dict.fromkeys(COMMUNITY_SURNAMES[community].split()))
            shares = _falling(len(common), offset=8.0, exponent=0.9)
            if community == _COMMUNITIES[_BRITISH]:
                rare = _rare_surnames(frozenset(common))
                tail = _falling(len(rare), offset=60.0, exponent=0.8)
                double = [f"{first}-{second}" for first in common[:60] for second in common[60:120]]
                ends = np.full(len(double), 1 / len(double))
                shares = np.concatenate(
                    [
                        (1 - _RARE_SURNAMES - _DOUBLE_BARRELLED) * shares,
                        _RARE_SURNAMES * tail,
                        _DOUBLE_BARRELLED * ends,
                    ]
                )
                common = [*common, *rare, *double]
            codes.append(np.array([code_of.setdefault(word, len(code_of)) for word in common], dtype=np.int64))
            cumulated.append(np.cumsum(shares))
        return cls(np.array(list(code_of), dtype=object), tuple(codes), tuple(cumulated))

    def draw(self, community: Codes, rng: np.random.Generator) -> Codes:
        drawn = np.empty(len(community), np.int64)
        chance = rng.random(len(community))
        for place, (codes, cumulated) in enumerate(zip(self.codes, self.cumulated, strict=True)):
            rows = np.flatnonzero(community == place)
            drawn[rows] = codes[_pick(cumulated, chance[rows])]
        return drawn


def _rare_surnames(known: frozenset[str]) -> list[str]:
    """Surnames composed as English and Scottish ones were, in a fixed order that mixes the kinds."""
    composed = [f"{first}{last}" for last in SURNAME_ENDINGS for first in SURNAME_BEGINNINGS if first[-1] != last[0]]
    composed += [f"Mac{name}" for name in SURNAME_FATHERS] + [f"Mc{name}" for name in SURNAME_FATHERS]
    rare = [name for name in dict.fromkeys(composed) if name not in known]
    return [rare[place] for place in np.random.default_rng(0).permutation(len(rare)).tolist()]


def _gendered(surnames: Words, sex: Codes) -> Words:
    forms = {_SEXES.index(FEMALE): _FEMALE_FORMS, _SEXES.index(MALE): _MALE_FORMS}
    return np.array(
        [forms[s].get(name, name) for name, s in zip(surnames.tolist(), sex.tolist(), strict=True)], dtype=object
    )


def _given_names(persons: _Persons, rng: np.random.Generator) -> Words:
    """Given names; a child who got the name of somebody in the household is named again, as parents would."""
    names = _drawn_given_names(persons, rng)
    _, codes = np.unique(names.astype(str), return_inverse=True)
    _, first = np.unique(np.column_stack([persons.household, codes]), axis=0, return_index=True)
    again = ~persons.grown_up
    again[first] = False
    rows = np.flatnonzero(again)
    names[rows] = _drawn_given_names(persons.take(rows), rng)
    return names


def _drawn_given_names(persons: _Persons, rng: np.random.Generator) -> Words:
    """By community and sex, and for the general population by decade; some of every community take a common name."""
    count = len(persons.born)
    year = persons.born.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    decade = np.clip(year // 10 * 10, _FIRST_DECADE, _LAST_DECADE)
    general = (persons.community == _BRITISH) | (rng.random(count) < 0.12)  # noqa: PLR2004 - share of common names elsewhere
    # Fashion has scattered: the first names of the 1950s were far more frequent than those of today.
    timeless = general & (rng.random(count) < np.interp(decade, [_FIRST_DECADE, _LAST_DECADE], [0.1, 0.3]))
    chance = rng.random(count)
    names = np.empty(count, dtype=object)
    for code, sex in enumerate(_SEXES):
        ours = persons.sex == code
        _assign(names, ours & timeless, TIMELESS_GIVEN_NAMES[sex], chance=chance, offset=40.0)
        for first_year in range(_FIRST_DECADE, _LAST_DECADE + 1, 10):
            rows = ours & general & ~timeless & (decade == first_year)
            offset = 3.0 + (first_year - _FIRST_DECADE) / 8
            _assign(names, rows, BRITISH_GIVEN_NAMES[sex, first_year], chance=chance, offset=offset)
        for place, community in enumerate(_COMMUNITIES[1:], start=1):
            rows = ours & ~general & (persons.community == place)
            _assign(names, rows, COMMUNITY_GIVEN_NAMES[sex, community], chance=chance, offset=5.0)
    return names


def _assign(names: Words, rows: NDArray[np.bool_], table: str, *, chance: NDArray[np.float64], offset: float) -> None:
    words = np.array(list(dict.fromkeys(table.split())), dtype=object)
    names[rows] = words[_pick(np.cumsum(_falling(len(words), offset=offset, exponent=0.8)), chance[rows])]


def _pick(cumulated: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.minimum(np.searchsorted(cumulated, chance, side="right"), len(cumulated) - 1)


# --- addresses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Addresses as codes; a street and twenty house numbers of it have one postcode."""

    town: Codes
    beginning: Codes
    ending: Codes
    number: Codes
    flat: Codes

    @classmethod
    def draw(cls, count: int, rng: np.random.Generator) -> "_Addresses":
        sizes = np.array([town.size_thousands for town in TOWNS], dtype=np.float64)
        beginnings = _falling(len(STREET_BEGINNINGS), offset=25.0, exponent=0.9)
        endings = _falling(len(STREET_ENDINGS), offset=1.5, exponent=1.0)
        return cls(
            town=rng.choice(len(TOWNS), size=count, p=sizes / sizes.sum()).astype(np.int64),
            beginning=rng.choice(len(STREET_BEGINNINGS), size=count, p=beginnings).astype(np.int64),
            ending=rng.choice(len(STREET_ENDINGS), size=count, p=endings).astype(np.int64),
            number=1 + rng.exponential(45, count).astype(np.int64),
            flat=np.where(rng.random(count) < 0.1, rng.integers(1, 30, count), 0),  # noqa: PLR2004 - share of flats
        )

    def moved_within_town(self, town: Codes, rng: np.random.Generator) -> "_Addresses":
        """Most moves are short: the same streets, but for most people in the town they live in."""
        near = rng.random(len(town)) < 0.65  # noqa: PLR2004 - share of moves within a town
        return replace(self, town=np.where(near, town, self.town))

    def words(self, rows: Codes) -> tuple[Words, Words, Words]:
        """Address line, town and postcode of the rows."""
        distinct, inverse = np.unique(rows, return_inverse=True)
        codes = (self.town, self.beginning, self.ending, self.number, self.flat)
        columns = zip(*(code[distinct].tolist() for code in codes), strict=True)
        built = np.array([_address(*values) for values in columns], dtype=object).reshape(len(distinct), 3)[inverse]
        return built[:, 0], built[:, 1], built[:, 2]


def _address(town: int, beginning: int, ending: int, number: int, flat: int) -> tuple[str, str, str]:
    place = TOWNS[town]
    # Any mixing of the street's codes will do, as long as one street always gets the same postcodes.
    street = (town * 7_919 + beginning * 104_729 + ending * 1_299_709) % 1_000_003
    unit = (street // 7 + number // 20 * 37) % len(POSTCODE_LETTERS) ** 2
    district, sector = 1 + street % place.districts, street // 31 % 10
    first, second = divmod(unit, len(POSTCODE_LETTERS))
    line = f"{number} {STREET_BEGINNINGS[beginning]} {STREET_ENDINGS[ending]}"
    postcode = f"{place.area}{district} {sector}{POSTCODE_LETTERS[first]}{POSTCODE_LETTERS[second]}"
    return (f"Flat {flat}, {line}" if flat else line), place.name, postcode


# --- what one provider wrote down ------------------------------------------------------------------------------------


def _file(
    provider: str, everybody: _Entities, held: Codes, *, rates: mistakes.ErrorRates, rng: np.random.Generator
) -> ProviderFile:
    columns = {name: getattr(everybody, name)[held] for name in COLUMNS}
    _out_of_date(columns, everybody, held, rates=rates, rng=rng)
    _miswrite(columns, rates=rates, rng=rng)
    for name, rate in rates.missing.items():
        columns[name][mistakes.struck(rate, len(held), rng)] = ""
    identifiers = 10_000_000 + rng.choice(90_000_000, size=len(held), replace=False)
    return ProviderFile(
        provider,
        tuple(f"{provider}-{identifier}" for identifier in identifiers.tolist()),
        {name: values.tolist() for name, values in columns.items()},
        held,
    )


def _out_of_date(
    columns: dict[str, Words],
    everybody: _Entities,
    held: Codes,
    *,
    rates: mistakes.ErrorRates,
    rng: np.random.Generator,
) -> None:
    moved = mistakes.struck(rates.moved, len(held), rng)
    for name in ("address", "town", "postcode"):
        columns[name][moved] = getattr(everybody, f"former_{name}")[held[moved]]
    married = mistakes.struck(rates.married, len(held), rng)
    married = married[everybody.may_marry[held[married]]]
    columns["surname"][married] = everybody.other_surname[held[married]]


def _miswrite(columns: dict[str, Words], *, rates: mistakes.ErrorRates, rng: np.random.Generator) -> None:
    plan: tuple[tuple[str, mistakes.Mistake, float], ...] = (
        ("given_name", mistakes.nickname, rates.nickname),
        ("given_name", mistakes.misspell, rates.spelling),
        ("surname", mistakes.misspell, rates.spelling),
        ("address", mistakes.abbreviate, rates.abbreviated_address),
        *((name, mistakes.mistype, rates.typing) for name in ("given_name", "surname", "address", "town")),
        *((name, mistakes.misread, rates.scanning) for name in ("given_name", "surname", "address", "town")),
        ("address", mistakes.miscopy_digit, rates.digits),
        ("postcode", mistakes.miscopy_postcode, rates.digits),
        ("date_of_birth", mistakes.miscopy_date, rates.digits),
        ("date_of_birth", mistakes.swap_day_month, rates.swapped_day_month),
        ("date_of_birth", mistakes.first_of_january, rates.birthday_unknown),
        ("sex", mistakes.other_sex, rates.wrong_sex),
    )
    for name, mistake, rate in plan:
        mistakes.spoil(columns[name], mistake, rate=rate, rng=rng)
    given, family = columns["given_name"], columns["surname"]
    swapped = mistakes.struck(rates.swapped_names, len(given), rng)
    given[swapped], family[swapped] = family[swapped], given[swapped]


def _write_csv(path: Path, *, header: Sequence[str], rows: Iterable[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
