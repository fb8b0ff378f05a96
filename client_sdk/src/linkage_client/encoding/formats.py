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
    MissingValue,
    NumericComparison,
    StringFormat,
)


@dataclass(frozen=True, slots=True)
class FormattedColumn:
    """Values as they are encoded, and the places and reasons of those that cannot be."""

    values: list[str]
    problems: list[tuple[int, str]]


class _NotInFormatError(ValueError):
    """The value does not fit; the message is the reason, without the value."""


def format_values(hashing: Hashing, values: list[str]) -> FormattedColumn:
    """Each value as it is encoded. A missing value's sentinel is replaced and not checked."""
    if _takes_any_text(hashing) and _all_encodable(values, hashing.text_encoding):
        return FormattedColumn(values=_with_replacement(values, hashing.missing), problems=[])
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


def _takes_any_text(hashing: Hashing) -> bool:
    anything = StringFormat(encoding=hashing.text_encoding)
    return hashing.format == anything and not isinstance(hashing.comparison, NumericComparison)


def _all_encodable(values: list[str], encoding: str) -> bool:
    try:
        "".join(values).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _with_replacement(values: list[str], missing: MissingValue | None) -> list[str]:
    if missing is None or missing.sentinel == missing.replacement or missing.sentinel not in values:
        return values
    return [missing.replacement if value == missing.sentinel else value for value in values]


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
    places = _FIXED_WIDTH.get(form.format)

    def write(value: str) -> str:
        if places is not None and (quick := _fixed_width_date(value, places)) is not None:
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
class _Places:
    """Where the parts of a date stand in a spelling of fixed width."""

    length: int
    year: slice
    month: slice
    day: slice
    separator: str = ""
    separators: tuple[int, int] = (0, 0)


# strptime takes 5 microseconds and dates are the columns with most distinct values; these spellings are the usual ones.
_FIXED_WIDTH: Final = {
    "%Y%m%d": _Places(8, slice(0, 4), slice(4, 6), slice(6, 8)),
    "%Y-%m-%d": _Places(10, slice(0, 4), slice(5, 7), slice(8, 10), "-", (4, 7)),
    "%Y/%m/%d": _Places(10, slice(0, 4), slice(5, 7), slice(8, 10), "/", (4, 7)),
    "%d/%m/%Y": _Places(10, slice(6, 10), slice(3, 5), slice(0, 2), "/", (2, 5)),
    "%d-%m-%Y": _Places(10, slice(6, 10), slice(3, 5), slice(0, 2), "-", (2, 5)),
}


def _fixed_width_date(value: str, places: _Places) -> str | None:
    """The date as YYYYMMDD, or None where only strptime can tell."""
    if len(value) != places.length:
        return None
    if places.separator and not value[places.separators[0]] == value[places.separators[1]] == places.separator:
        return None
    year, month, day = value[places.year], value[places.month], value[places.day]
    if year[0] == "0":
        # strftime writes years before 1000 with fewer digits on some systems.
        return None
    try:
        dt.date.fromisoformat(f"{year}-{month}-{day}")
    except ValueError:
        return None
    return year + month + day
