"""An agreement as plain text, for terminals: the sentences of `words`, broken between words."""

from collections.abc import Iterator
from textwrap import wrap

from linkage_client.agreements.showing import Shown, signature_in_words
from linkage_client.agreements.words import grouped

_WIDEST = 100


def text(shown: Shown, *, columns: int = 80) -> str:
    """The whole agreement as lines of at most so many columns."""
    return "\n".join(_lines(shown, min(max(columns, 40), _WIDEST))) + "\n"


def _lines(shown: Shown, columns: int) -> Iterator[str]:
    said = shown.said
    yield from _wrapped(f"{said.reference}: {said.title}", columns)
    yield from _wrapped(f"Information sharing agreement. {shown.standing}.", columns)
    for element in said.elements:
        yield ""
        yield ""
        heading = f"{element.number} {element.title}"
        yield heading
        yield "=" * len(heading)
        for block in element.blocks:
            yield ""
            yield from _wrapped(block.heading, columns)
            for sentence in block.sentences:
                yield from _wrapped(sentence, columns, indent="  ")
            for entry in block.listed:
                yield from _wrapped(f"- {entry}", columns, indent="    ", hanging="      ")
    yield ""
    yield ""
    yield "Signatures"
    yield "=========="
    for item in shown.signatures:
        yield from _wrapped(f"- {signature_in_words(item, shown.names)}", columns, indent="  ", hanging="    ")
    yield ""
    yield "What is signed is this text's SHA-256 digest:"
    first, second = grouped(shown.digest[:32]), grouped(shown.digest[32:])
    yield f"  {first}"
    yield f"  {second}"


def _wrapped(sentence: str, columns: int, *, indent: str = "", hanging: str | None = None) -> Iterator[str]:
    # A line break of the document stays one: it is part of what is signed.
    for place, line in enumerate(sentence.replace("\t", "    ").split("\n")):
        before = indent if place == 0 else hanging or indent
        broken = wrap(
            line,
            columns,
            initial_indent=before,
            subsequent_indent=hanging or indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from broken or [""]
