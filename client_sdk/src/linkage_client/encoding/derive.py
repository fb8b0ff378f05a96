"""Columns that a linkage schema asks for and a table only holds in part, so that schemas stay plain clkhash JSON.

A feature whose identifier is a column of the table is that column. Otherwise:

- `date_of_birth.year`, `.month`, `.day`, `.year_month`, `.year_day` and `.month_day` are parts of the column before
  the dot. One wrong digit then costs one part of the evidence, not all of it. Dates are recognised in the spellings
  YYYYMMDD, YYYY-MM-DD, DD/MM/YYYY, DD-MM-YYYY, DD.MM.YYYY and `05 May 1979`; whatever is impossible or could be read
  in two ways is missing (an empty string).
- `given_name+surname` is the columns around the plus, in this order, joined by one space without empty ones.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

import numpy as np

from linkage_client.encoding.encoder import Distinct
from linkage_client.encoding.normalise import NormalisationProfile
from linkage_client.encoding.schema import Feature, LinkageSchema, StringFormat
from linkage_client.errors import ColumnError, SchemaError

FIRST_YEAR: Final = 1800
LAST_YEAR: Final = 2199
"""Eight digits whose first four are outside these years are more likely day first."""


class DatePart(StrEnum):
    """Parts of a date that make a column."""

    YEAR = "year"
    MONTH = "month"
    DAY = "day"
    YEAR_MONTH = "year_month"
    YEAR_DAY = "year_day"
    MONTH_DAY = "month_day"

    def of(self, date: str) -> str:
        """This part of YYYYMMDD, digits only; empty for an empty date."""
        slices = {"year": slice(0, 4), "month": slice(4, 6), "day": slice(6, 8)}
        return "".join(date[slices[name]] for name in self.value.split("_"))


@dataclass(frozen=True, slots=True)
class PlainColumn:
    """A column of the table as it is."""

    feature: Feature
    source: str


@dataclass(frozen=True, slots=True)
class DatePartColumn:
    """A part of a date."""

    feature: Feature
    source: str
    part: DatePart


@dataclass(frozen=True, slots=True)
class JoinedColumn:
    """Several columns in one."""

    feature: Feature
    sources: tuple[str, ...]


ResolvedColumn = PlainColumn | DatePartColumn | JoinedColumn


def resolve_columns(schema: LinkageSchema, table_columns: Sequence[str]) -> tuple[ResolvedColumn, ...]:
    """Where the column of each hashed feature comes from, in the schema's order.

    Raises:
        ColumnError: names the columns that the table lacks, and lists those it has if at least one of them is known (if
            none is, the first line may hold a person's data instead of names).
    """
    present = frozenset(table_columns)
    resolved = [_resolve(feature, present) for feature in schema.hashed_features]
    needed = dict.fromkeys(source for column in resolved for source in sources_of(column))
    absent = [name for name in needed if name not in present]
    if absent:
        raise ColumnError(_absent_message(absent, table_columns=table_columns, some_known=len(absent) < len(needed)))
    return tuple(resolved)


def sources_of(column: ResolvedColumn) -> tuple[str, ...]:
    """The columns of the table that a feature is made of."""
    return column.sources if isinstance(column, JoinedColumn) else (column.source,)


def _resolve(feature: Feature, present: frozenset[str]) -> ResolvedColumn:
    identifier = feature.identifier
    if identifier in present:
        return PlainColumn(feature=feature, source=identifier)
    source, _, part = identifier.rpartition(".")
    if source and part in {known.value for known in DatePart}:
        return DatePartColumn(feature=feature, source=source, part=DatePart(part))
    names = tuple(identifier.split("+"))
    if len(names) > 1 and all(names):
        return JoinedColumn(feature=feature, sources=names)
    return PlainColumn(feature=feature, source=identifier)


def _absent_message(absent: Sequence[str], *, table_columns: Sequence[str], some_known: bool) -> str:
    missing = f"the table lacks columns that the linkage schema needs: {', '.join(absent)}. "
    if not some_known:
        return (
            f"{missing}None of its {len(table_columns)} columns is known to the schema: check that the first line "
            "holds the column names, and that the delimiter is right"
        )
    return f"{missing}It has: {', '.join(table_columns)}. Rename columns to match, or use a schema for this table"


def prepare_columns(
    resolved: Sequence[ResolvedColumn], columns: Mapping[str, Distinct], *, profile: NormalisationProfile
) -> dict[str, Distinct]:
    """The column of each feature by its identifier: normalised first, then derived."""
    preparation = _Preparation(columns=columns, profile=profile)
    return {column.feature.identifier: preparation.prepare(column) for column in resolved}


def check_profile(resolved: Sequence[ResolvedColumn], profile: NormalisationProfile) -> None:
    """Refuse a schema whose formats the normalisation would break for every row."""
    for column in resolved:
        form = column.feature.hashing.format if column.feature.hashing else None
        if profile.folds_case and isinstance(form, StringFormat) and form.case == "upper":
            raise SchemaError(
                f"upper case is asked for, and the normalisation {profile.name} writes lower case: make it mixed or "
                "lower in the schema, or encode with the normalisation none",
                pointer=f"/features/{column.feature.index}/format/case",
            )


class _Preparation:
    """Holds what several features of one block of rows share: a date is read once for its six parts."""

    def __init__(self, *, columns: Mapping[str, Distinct], profile: NormalisationProfile) -> None:
        self._columns = columns
        self._profile = profile
        self._done: dict[tuple[str, Callable[[str], str]], Distinct] = {}

    def prepare(self, column: ResolvedColumn) -> Distinct:
        if isinstance(column, PlainColumn):
            is_text = column.feature.hashing is not None and isinstance(column.feature.hashing.format, StringFormat)
            return self._written(column.source, self._profile.text if is_text else self._profile.coded)
        if isinstance(column, DatePartColumn):
            return self._written(column.source, recognise_date).map(column.part.of)
        if isinstance(column, JoinedColumn):
            return _joined([self._written(source, self._profile.text) for source in column.sources])
        assert_never(column)

    def _written(self, source: str, write: Callable[[str], str]) -> Distinct:
        key = (source, write)
        if key not in self._done:
            self._done[key] = self._columns[source] if write is str else self._columns[source].map(write)
        return self._done[key]


def _joined(columns: Sequence[Distinct]) -> Distinct:
    values, codes = columns[0].values, columns[0].codes
    for column in columns[1:]:
        # Pairs that occur, not all that could: two columns of names have billions of those.
        pairs, codes = np.unique(codes * len(column.values) + column.codes, return_inverse=True)
        left, right = np.divmod(pairs, max(len(column.values), 1))
        values = [
            " ".join(filter(None, (values[first], column.values[second])))
            for first, second in zip(left.tolist(), right.tolist(), strict=True)
        ]
    return Distinct(values=values, codes=codes)


_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "jan january",
            "feb february",
            "mar march",
            "apr april",
            "may",
            "jun june",
            "jul july",
            "aug august",
            "sep sept september",
            "oct october",
            "nov november",
            "dec december",
        ),
        start=1,
    )
    for name in names.split()
}
_SPELLINGS: Final = (
    re.compile(r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"),
    re.compile(r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})"),
    re.compile(r"(?P<day>[0-9]{1,2})(?P<sep>[/.-])(?P<month>[0-9]{1,2})(?P=sep)(?P<year>[0-9]{4})"),
    re.compile(r"(?P<day>[0-9]{1,2})[ -](?P<month>[A-Za-z]{3,9})[ -](?P<year>[0-9]{4})"),
)


def recognise_date(text: str) -> str:
    """The date as YYYYMMDD, or an empty string where there is none or no single reading."""
    stripped = text.strip()
    for spelling in _SPELLINGS:
        match = spelling.fullmatch(stripped)
        if match:
            return _written_date(year=match["year"], month=match["month"], day=match["day"])
    return ""


def _written_date(*, year: str, month: str, day: str) -> str:
    number = _MONTHS.get(month.lower(), 0) if month.isalpha() else int(month)
    try:
        date = dt.date(int(year), number, int(day))
    except ValueError:
        return ""
    return f"{date:%Y%m%d}" if FIRST_YEAR <= date.year <= LAST_YEAR else ""
