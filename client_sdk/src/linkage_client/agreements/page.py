"""An agreement as one page that can be mailed and printed: the sentences of `words`, and nothing from the network."""

from linkage_client.agreements.showing import Shown
from linkage_client.agreements.signatures import Checked
from linkage_client.agreements.words import Block, Element, grouped
from linkage_client.reporting import frame
from linkage_client.reporting.frame import capital
from linkage_client.reporting.markup import Markup, element, joined


def page(shown: Shown) -> str:
    """The whole page, as HTML."""
    said = shown.said
    signed = sum(item.state == "valid" for item in shown.signatures)
    return frame.document(
        title=f"{said.reference}: {said.title}",
        header=frame.page_header(
            eyebrow=f"Information sharing agreement {said.reference}",
            headline=said.title,
            lead=f"{shown.standing}. {_counted(signed, len(shown.signatures))}",
            figures=(),
        ),
        sections=[_parties(shown), *map(_element, said.elements), _digest(shown)],
        footer=frame.page_footer(
            f"Made by {shown.made_by} on {frame.moment(shown.made_at)} from the text with the digest above. Names of "
            "organisations are as registered at the service; the text names parties by their ids."
        ),
    )


def _counted(signed: int, parties: int) -> str:
    if signed == parties:
        return "Every party has signed it."
    return f"{signed} of {parties} parties have signed it." if signed else "No party has signed it yet."


def _parties(shown: Shown) -> Markup:
    said = [(shown.names.short(item.organisation), capital(_signature(item))) for item in shown.signatures]
    checked = "Each signature was checked against the text of this page with the key that the party has registered."
    return frame.section("signatures", "Parties and signatures", element("p", checked), frame.facts(said))


def _signature(item: Checked) -> str:
    key = f" Thumbprint of its key: {item.thumbprint}" if item.thumbprint else ""
    return f"{item.in_words}. Id: {item.organisation}.{key}"


def _element(said: Element) -> Markup:
    return frame.section(f"element-{said.number}", f"{said.number} {said.title}", *map(_block, said.blocks))


def _block(block: Block) -> Markup:
    sentences = [_sentence(sentence) for sentence in block.sentences]
    listed = element("ul", *(element("li", entry) for entry in block.listed)) if block.listed else None
    return element("div", element("h3", block.heading), *sentences, listed, class_="block said")


def _sentence(sentence: str) -> Markup:
    first, *more = sentence.split("\n")
    return element("p", first, *(joined(element("br"), line) for line in more))


def _digest(shown: Shown) -> Markup:
    return frame.section(
        "digest",
        "What is signed",
        element("p", "Every signature is over the SHA-256 digest of this text in its canonical form (RFC 8785):"),
        element("p", element("code", grouped(shown.digest))),
        element("p", "Two parties that see the same digest have the same text before them."),
        together=True,
    )
