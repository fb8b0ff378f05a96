"""HTML and SVG made of nested calls, in which text is escaped unless it was made here.

With a template somebody forgets to escape one name one day. Here a plain string can only ever become text.
"""

from html import escape
from typing import Final

_VOID: Final = frozenset({"meta", "br", "hr", "col"})


class Markup(str):
    """Text that is HTML or SVG already. Made by `element` and `joined` from escaped parts, and by nobody else."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element; None among children or attributes is left out.

    Attributes are named as Python allows: `class_` is "class", `aria_label` is "aria-label".
    """
    written = "".join(
        f' {attribute.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for attribute, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after the other, escaped where they are plain text."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(child, quote=False)
            for child in children
            if child is not None
        )
    )


def _text(value: str | float) -> str:
    # Coordinates of a screen: a tenth of a unit cannot be seen.
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
