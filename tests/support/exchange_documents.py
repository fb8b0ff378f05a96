"""What tests of the key exchange share: keys that are the same each time, and ways of spoiling a document."""

from collections.abc import Iterator, Mapping
from typing import Any

from linkage_client.exchange.private_keys import ExchangeKeys
from support.exchange_oracle import Party

PROJECT = "prj_1"
# Of every type that JSON has, and texts that some parsers take for bytes or numbers.
OTHER_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, 2, -1, 1.0, 10**30, "", "1", "x", "\n", "é", "\ud800", "=" * 43, "A" * 100_000,
    [], ["x"], {}, {"x": 1}, b"x",
)  # fmt: skip


def keys_of(party: Party) -> ExchangeKeys:
    """A provider's exchange keys as the client holds them."""
    return ExchangeKeys.from_bytes(party.kept())


def spoilt(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every way of taking out, retyping, shortening, lengthening or respelling one member, at every depth."""
    yield "extra member", {**document, "x": 1}
    for name, value in document.items():
        yield f"without {name}", {key: kept for key, kept in document.items() if key != name}
        yield f"{name} in capitals", {key.upper() if key == name else key: kept for key, kept in document.items()}
        for other in OTHER_VALUES:
            # Python finds 1, 1.0 and True equal; the formats do not.
            if (type(other), other) != (type(value), value):
                yield f"{name} is {str(other)[:12]!r}", {**document, name: other}
        if isinstance(value, str):
            for how, text in respelt(value):
                yield f"{name} {how}", {**document, name: text}
        if isinstance(value, Mapping):
            for how, member in spoilt(value):
                yield f"{name}: {how}", {**document, name: member}


def respelt(text: str) -> Iterator[tuple[str, str]]:
    """Other texts that a lenient reader may take for this one, or for one of the right kind."""
    yield "cut by one", text[:-1]
    yield "without its first", text[1:]
    yield "longer by one", text + "A"
    yield "longer by four", text + "AAAA"
    yield "padded", text + "="
    yield "with a line end", text + "\n"
    yield "with a blank", " " + text
    yield "with a zero byte", text + "\0"
    if text.swapcase() != text:
        yield "in the other case", text.swapcase()
    if text[-1:] not in {"", "/"}:
        yield "with stray bits", text[:-1] + chr(ord(text[-1]) + 1)
