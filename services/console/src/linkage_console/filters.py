"""What is looked for in the access log: fields of the filter panel, the address that says the same, the API's names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from linkage_console.calling import Refusal

# As the API names them, so an address of the console can be read with the API's documentation.
FIELDS: Final = (
    "organisation", "actor", "action", "type", "agreement", "version", "project", "resource_type", "resource",
    "purpose", "outcome", "element", "request", "from", "to",
)  # fmt: skip
_NUMBERS: Final = frozenset({"version", "element"})


@dataclass(frozen=True, slots=True)
class Filters:
    """Fields that are filled in, as they were written; `from` and `to` are days in UTC, both included, or times."""

    fields: Mapping[str, str]

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Filters":
        """Takes those that are known and not empty."""
        return cls({name: given[name].strip() for name in FIELDS if given.get(name, "").strip()})

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "")

    def address(self, **more: Any) -> str:
        """The query of an address that asks for the same."""
        return urlencode({**self.fields, **{name: value for name, value in more.items() if value is not None}})

    def asked(self) -> dict[str, Any]:
        """As the API takes them.

        Raises:
            Refusal: something is no day, time or number.
        """
        found: dict[str, Any] = dict(self.fields)
        for name in _NUMBERS & found.keys():
            if not found[name].isdecimal():
                raise Refusal(422, {"detail": f"Write a whole number for {name}."})
            found[name] = int(found[name])
        for name, days in (("from", 0), ("to", 1)):
            if name in found:
                found[name] = _time(found[name], name, days=days)
        return found


def _time(text: str, name: str, *, days: int) -> str:
    """A day as the time at which it begins, or ends with `days` 1; a time as it is."""
    try:
        if len(text) <= len("2026-01-01"):
            begins = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return (begins + timedelta(days=days)).isoformat().replace("+00:00", "Z")
        datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Refusal(422, {"detail": f"Write a day for {name}, as 2026-03-01."}) from None
    return text
