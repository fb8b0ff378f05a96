"""Checks values against the format of their column and writes each in the one way that is encoded.

Reasons say what was expected. They never hold the value: they end up in logs and in messages to other people.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from linkage_client.encoding.schema import (
    DateFormat,
    EnumFormat,
    Format,
    Hashing,
    IntegerFormat,
    NumericComparison,
    StringFormat,
)

FIRST_YEAR_OF_FOUR_DIGITS: Final = 1000


@dataclass(frozen=True, slots=True)
class FormattedColumn:
    """Values as they are encoded, and the places and reasons of those that cannot be."""

    values: list[str]
    problems: list[tuple[int, str]]


class _NotInFormatError(ValueError):
    """The value does not fit; the message is the reason, without the value."""


def format_values(hashing: Hashing, values: list[str]) -> FormattedColumn:
    """Each value as it is encoded. A missing value's sentinel is replaced and not checked."""
    write = _writer(hashing)
    formatted: list[str] = []
    problems: list[tuple[int, str]] = []
    for place, value in enumerate(values):
        if hashing.missing is not None and value == hashing.missing.sentinel:
            formatted.append(hashing.missing.replacement)
            continue
        try:
            formatted.append(write(value))
        except _NotInFormatError as error:
            formatted.append("")
            problems.append((place, str(error)))
    return FormattedColumn(values=formatted, problems=problems)


def _writer(hashing: Hashing) -> Callable[[str], str]:
    write = _format_writer(hashing.format)
    if not isinstance(hashing.comparison, NumericComparison):
        return write
    comparison = hashing.comparison

    def write_number(value: str) -> str:
        written = write(value)
        _check_number(written, comparison)
        return written

    return write_number


def _format_writer(form: Format) -> Callable[[str], str]:
    if isinstance(form, StringFormat):
        return _string_writer(form)
    if isinstance(form, IntegerFormat):
        return _integer_writer(form)
    if isinstance(form, DateFormat):
        return _date_writer(form)
    if isinstance(form, EnumFormat):
        return _enum_writer(form)
    assert_never(form)


def _check_encodable(value: str, encoding: str) -> None:
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        raise _NotInFormatError(f"has characters that {encoding} cannot write") from None


def _check_number(value: str, comparison: NumericComparison) -> None:
    try:
        comparison.tokens(value)
    except (ValueError, OverflowError):
        raise _NotInFormatError("is not a finite number, and the column is compared as numbers") from None


def _string_writer(form: StringFormat) -> Callable[[str], str]:
    def write(value: str) -> str:
        _check_encodable(value, form.encoding)
        if form.pattern is not None:
            if form.pattern.fullmatch(value) is None:
                raise _NotInFormatError("does not match the pattern of the schema")
            return value
        if form.minimum_length is not None and len(value) < form.minimum_length:
            raise _NotInFormatError(_too_short(value, form.minimum_length))
        if form.maximum_length is not None and len(value) > form.maximum_length:
            raise _NotInFormatError(f"is longer than {form.maximum_length} characters")
        if form.case == "upper" and value.upper() != value:
            raise _NotInFormatError("is not in upper case")
        if form.case == "lower" and value.lower() != value:
            raise _NotInFormatError("is not in lower case")
        return value

    return write


def _too_short(value: str, minimum: int) -> str:
    return _hint_if_empty(value) or f"is shorter than {minimum} characters"


def _hint_if_empty(value: str) -> str:
    if value:
        return ""
    return 'is empty, which the format does not allow; the schema can say "missingValue": {"sentinel": ""}'


def _integer_writer(form: IntegerFormat) -> Callable[[str], str]:
    def write(value: str) -> str:
        _check_encodable(value, "utf-8")
        try:
            number = int(value, base=10)
            written = str(number)
        except ValueError:
            raise _NotInFormatError(_hint_if_empty(value) or "is not an integer") from None
        if form.minimum is not None and number < form.minimum:
            raise _NotInFormatError(f"is below the minimum of {form.minimum}")
        if form.maximum is not None and number > form.maximum:
            raise _NotInFormatError(f"is above the maximum of {form.maximum}")
        return written

    return write


def _date_writer(form: DateFormat) -> Callable[[str], str]:
    slices = _FIXED_WIDTH.get(form.format)

    def write(value: str) -> str:
        if slices is not None and (quick := _fixed_width_date(value, slices)) is not None:
            return quick
        _check_encodable(value, "utf-8")
        try:
            # The moment has no zone: only its date is used.
            date = dt.datetime.strptime(value, form.format)  # noqa: DTZ007
        except ValueError:
            raise _NotInFormatError(_hint_if_empty(value) or f"is not a date written as {form.format}") from None
        return date.strftime("%Y%m%d")

    return write


def _enum_writer(form: EnumFormat) -> Callable[[str], str]:
    def write(value: str) -> str:
        _check_encodable(value, "utf-8")
        if value not in form.values:
            raise _NotInFormatError(_hint_if_empty(value) or "is not one of the values that the schema lists")
        return value

    return write


@dataclass(frozen=True, slots=True)
class _Slices:
    length: int
    year: slice
    month: slice
    day: slice
    separators: tuple[tuple[int, str], ...] = ()


# strptime takes 5 microseconds and dates are the columns with most distinct values; these spellings are the usual ones.
_FIXED_WIDTH: Final = {
    "%Y%m%d": _Slices(8, slice(0, 4), slice(4, 6), slice(6, 8)),
    "%Y-%m-%d": _Slices(10, slice(0, 4), slice(5, 7), slice(8, 10), ((4, "-"), (7, "-"))),
    "%Y/%m/%d": _Slices(10, slice(0, 4), slice(5, 7), slice(8, 10), ((4, "/"), (7, "/"))),
    "%d/%m/%Y": _Slices(10, slice(6, 10), slice(3, 5), slice(0, 2), ((2, "/"), (5, "/"))),
    "%d-%m-%Y": _Slices(10, slice(6, 10), slice(3, 5), slice(0, 2), ((2, "-"), (5, "-"))),
}


def _fixed_width_date(value: str, slices: _Slices) -> str | None:
    """The date as YYYYMMDD, or None where only strptime can tell."""
    if len(value) != slices.length or not value.isascii():
        return None
    if any(value[place] != separator for place, separator in slices.separators):
        return None
    year, month, day = value[slices.year], value[slices.month], value[slices.day]
    if not (year.isdigit() and month.isdigit() and day.isdigit()) or int(year) < FIRST_YEAR_OF_FOUR_DIGITS:
        return None
    try:
        dt.date(int(year), int(month), int(day))
    except ValueError:
        return None
    return year + month + day
