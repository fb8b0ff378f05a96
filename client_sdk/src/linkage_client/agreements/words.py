"""An agreement in full sentences, element by element: what the terminal, the page and a signatory go by.

Every value of the document is in the sentences, and nothing else is, so that whoever reads them has read all that is
signed. A document that cannot be said in them, because it has a field that is not known here, is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from linkage_client.agreements.validation import check

TITLES: Final = (
    "Purpose of the sharing",
    "Recipients and circumstances of access",
    "Exact data to be shared",
    "Data quality",
    "Data security",
    "Retention of shared data",
    "Individuals' rights",
    "Review and termination",
    "Sanctions for failure to comply",
)
_ROLES: Final = {
    "provider": "provides records, which it encodes on its own machines",
    "recipient": "receives results",
    "processor": "works for another party as its processor",
}
_OUTPUTS: Final = {
    "link_table_blind": "A blind link table: every record gets a link id; nothing tells which records were matched.",
    "link_table_matched": "A matched link table: link ids of matched records only; it tells who is known to others.",
    "summary": "A summary: rounded counts of how many people several providers know.",
}
_COLUMNS: Final = {
    "match_probability": "how likely a match is right (match_probability)",
    "group_size": "how many records belong to one person (group_size)",
}
_TIERS: Final = {
    "plain": "plain encodings (CLKs) or better protected ones",
    "folded": "folded encodings or better protected ones",
    "hardened": "encodings of a hardened profile",
}
_EXCHANGES: Final = {
    "x25519": "A linkage secret that is shared through the service is encrypted with X25519.",
    "mlkem768-x25519": "A linkage secret that is shared through the service is encrypted with ML-KEM-768 and X25519 "
    "together, so that a quantum computer of later years does not open it. This follows a draft, not a standard yet.",
}
_ASSURANCE: Final = {
    "none": "No status in a security assurance scheme is asked for.",
    "approaching_standards": 'Each party holds at least the status "approaching standards" of the DSPT, unexpired.',
    "standards_met": 'Each party holds at least the status "standards met" of the DSPT, unexpired.',
    "standards_exceeded": 'Each party holds the status "standards exceeded" of the DSPT, unexpired.',
}
_OPT_OUTS: Final = {
    "none": "No opt-out has to be applied to the records before they are encoded.",
    "local_objection": "Providers leave out people who have objected to them, before they encode (local objection).",
    "national_data_opt_out": "Providers apply the national data opt-out before they encode.",
}
_SANCTIONS: Final = {
    "warn": "a warning",
    "suspend_client": "suspension of a machine or person",
    "suspend_organisation": "suspension of the organisation",
    "suspend_agreement": "suspension of this agreement",
    "terminate": "termination of this agreement",
}
_DAYS: Final = {
    "mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday", "sat": "Saturday",
    "sun": "Sunday",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Sentences under one heading, and what is listed below them. A sentence may hold line breaks of the document."""

    heading: str
    sentences: tuple[str, ...]
    listed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """One of the nine elements in words."""

    number: int
    blocks: tuple[Block, ...]

    @property
    def title(self) -> str:
        """The element's name."""
        return TITLES[self.number - 1]


@dataclass(frozen=True, slots=True)
class Said:
    """A whole agreement in words."""

    reference: str
    title: str
    elements: tuple[Element, ...]
    parties: tuple[str, ...] = field(default=())


class Names:
    """What organisations are called, by id. Names are not part of the text, so the id is always said too."""

    def __init__(self, by_id: Mapping[str, str] | None = None) -> None:
        self._by_id = dict(by_id or {})

    def of(self, organisation: str) -> str:
        """An organisation: its name, if that is known, and its id."""
        name = "".join(c if c.isprintable() else " " for c in self._by_id.get(organisation, "")).strip()
        return f"{name} ({organisation})" if name else organisation

    def short(self, organisation: str) -> str:
        """The name alone, or the id of one that has no name here."""
        return self._by_id.get(organisation, "").strip() or organisation


def say(document: Mapping[str, Any], names: Names | None = None) -> Said:
    """The agreement in words.

    Raises:
        AgreementInvalidError: it is none, so it cannot be said in full.
    """
    check(document)
    names = names or Names()
    said: tuple[Callable[[Mapping[str, Any], Names], Iterator[Block]], ...] = (
        _purpose, _recipients, _data, _quality, _security, _retention, _rights, _review, _sanctions,
    )  # fmt: skip
    members = ("purpose", "recipients", "data", "quality", "security", "retention", "rights", "review", "sanctions")
    return Said(
        reference=document["reference"],
        title=document["title"],
        elements=tuple(
            Element(number, tuple(blocks(document[member], names)))
            for number, (member, blocks) in enumerate(zip(members, said, strict=True), start=1)
        ),
        parties=tuple(party["organisation"] for party in document["recipients"]["parties"]),
    )


def moment(text: str) -> str:
    """A date and time in words: "1 January 2026 at 00:00 UTC", with seconds where there are any."""
    utc = datetime.fromisoformat(text.upper()).astimezone(UTC)
    clock = f"{utc:%H:%M}"
    if utc.second or utc.microsecond:
        clock += f":{utc:%S}" + (f".{utc:%f}" if utc.microsecond else "")
    return f"{utc.day} {utc:%B %Y} at {clock} UTC"


def grouped(digest: str) -> str:
    """A digest in groups of eight, which two people can compare over the telephone."""
    return " ".join(digest[place : place + 8] for place in range(0, len(digest), 8))


def percent(share: float) -> str:
    """A share as a percentage, exactly: 0.985 is "98.5 %"."""
    written = f"{(Decimal(str(share)) * 100).normalize():f}"
    return f"{written}\N{NO-BREAK SPACE}%"


def listing(items: Iterable[str]) -> str:
    """Several things in one sentence: "a, b and c"."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def retention_in_words(element: Mapping[str, Any]) -> tuple[str, str]:
    """How long encodings and link tables are kept."""
    return (
        f"Encodings are deleted {_days(element['encodings_days'])} after they were sent.",
        f"Link tables are deleted {_days(element['link_tables_days'])} after they were released.",
    )


def security_in_words(element: Mapping[str, Any]) -> tuple[str, ...]:
    """How data and access are protected."""
    profile = element.get("encoding_profile")
    measured = element.get("maximum_reidentification")
    return (
        f"Providers send {_TIERS[element.get('minimum_tier', 'plain')]}.",
        f"Every provider encodes with the profile {profile}."
        if profile is not None
        else "No encoding profile is named: the linkage schema says how records are encoded.",
        f"Somebody who holds a provider's encodings and knows 300 of its people may recognise at most "
        f"{percent(measured)} of the records. Each provider measures this and declares it."
        if measured is not None
        else "No limit is set to what a provider may measure as re-identifiable.",
        _ASSURANCE[element.get("minimum_assurance", "none")],
        "People sign in with a second factor.",
        f"The key of a machine is changed at least every {_days(element['key_rotation_days'])}.",
        _EXCHANGES[element.get("secret_exchange", "x25519")],
    )


# --- the nine elements ------------------------------------------------------------------------------------------------


def _purpose(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    for purpose in element["purposes"]:
        yield Block(
            f"Purpose: {purpose['code']}",
            (f"The parties share data for this purpose: {purpose['text']}", f"The benefit: {purpose['benefits']}"),
        )
    basis = element["lawful_basis"]
    article9 = basis.get("article9")
    yield Block(
        "Why it is lawful",
        (
            f"The lawful basis under Article 6 of the GDPR is: {basis['article6']}",
            "No condition of Article 9 of the GDPR is stated."
            if article9 is None
            else f"The condition under Article 9 of the GDPR is: {article9}",
            f"The legal power is: {basis['legal_power']}",
            f"The common law duty of confidentiality: {basis['duty_of_confidentiality']}",
        ),
    )
    yield Block(
        "Why it is necessary",
        (element["necessity"], f"The data protection impact assessment is: {element['dpia_ref']}"),
    )


def _recipients(element: Mapping[str, Any], names: Names) -> Iterator[Block]:
    for party in element["parties"]:
        yield Block(names.of(party["organisation"]), tuple(_party(party)))
    joint = element.get("joint_controllers") or []
    if joint:
        yield Block(
            "Joint controllers",
            (
                f"These parties decide together on purposes and means: {listing(map(names.of, joint))}.",
                f"Their arrangement: {element['joint_arrangement']}",
            ),
        )
    else:
        yield Block("Joint controllers", ("There are no joint controllers.",))


def _party(party: Mapping[str, Any]) -> Iterator[str]:
    yield f"This party {listing(_ROLES[role] for role in party['roles'])}."
    if "provider" in party["roles"]:
        several = party.get("may_hold_duplicates", False)
        yield f"Its records may {'' if several else 'not '}name one person more than once."
    contacts = party["contacts"]
    yield f"Its data protection officer: {contacts['dpo']}"
    yield f"Its senior information risk owner: {contacts['siro']}"
    if (caldicott := contacts.get("caldicott")) is not None:
        yield f"Its Caldicott guardian: {caldicott}"
    given = party.get("circumstances") or {}
    networks, hours, people = given.get("networks"), given.get("hours"), given.get("people")
    yield (
        "It may act from any network."
        if networks is None
        else f"It may act only from these networks: {listing(networks)}."
    )
    yield (
        "It may act at any time."
        if hours is None
        else f"It may act only on {listing(_DAYS[day] for day in hours['days'])}, from {hours['opens']} to before "
        f"{hours['closes']}, in the time zone {hours['timezone']}."
    )
    yield "No more is said of who may act for it." if people is None else f"Who may act for it: {people}"


def _data(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    yield Block(
        "What goes in",
        (
            f"The people concerned: {element['population']}",
            "These fields of each person are encoded; the fields themselves stay with their provider:",
        ),
        tuple(element["identifier_fields"]),
    )
    yield Block(
        "How it is encoded",
        (
            "Only the linkage schema with this SHA-256 digest may be used:",
            grouped(element["linkage_schema_sha256"]),
            "Special category data are shared or revealed."
            if element["special_category"]
            else "No special category data are shared or revealed.",
        ),
    )
    columns = element.get("columns") or []
    transfers = element.get("international_transfers")
    yield Block("What comes out", ("These results may be released:",), tuple(_OUTPUTS[o] for o in element["outputs"]))
    yield Block(
        "Limits of the results",
        (
            f"A matched link table may also tell {listing(_COLUMNS[column] for column in columns)}."
            if columns
            else "A link table tells nothing beside row and link id.",
            f"Counts of people below {element['min_group_count']} are not shown.",
            f"Onward sharing: {element['onward_sharing']}",
            "Nothing is transferred to another country."
            if transfers is None
            else f"Transfers to other countries: {transfers}",
        ),
    )


def _quality(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    least = element["min_completeness"]
    if least:
        yield Block(
            "Completeness",
            ("An upload is refused unless each of these fields has a value in at least this share of its records:",),
            tuple(f"{name}: {percent(share)}" for name, share in least.items()),
        )
    else:
        yield Block("Completeness", ("No completeness of fields is asked for.",))
    target, plan = element.get("target_precision"), element.get("sampling_plan")
    yield Block(
        "Quality of links",
        (
            "No precision is aimed at by agreement."
            if target is None
            else f"Of the links of every run, at least {percent(target)} are expected to be right.",
            "No checks by hand are agreed." if plan is None else f"Checks by hand: {plan}",
        ),
    )


def _security(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    yield Block("Encodings and access", security_in_words(element))


def _retention(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    retrievals = element["max_retrievals"]
    yield Block(
        "How long what is kept",
        (
            *retention_in_words(element),
            f"Details of the access log are deleted after {_days(element['audit_bodies_days'])}.",
            f"Each link table may be retrieved {'once' if retrievals == 1 else f'{retrievals} times'}.",
            "A signed certificate is issued for what is deleted."
            if element.get("disposal_certificate", True)
            else "No certificate is issued for what is deleted.",
        ),
    )


def _rights(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    information = element.get("freedom_of_information")
    yield Block(
        "How people learn of it and use their rights",
        (
            f"People turn to: {element['contact']}",
            f"The privacy notice is at: {element['privacy_notice_url']}",
            f"A complaint is answered within {_days(element.get('complaint_days', 30))}.",
            f"An access request is answered within {_days(element.get('access_request_days', 30))}.",
            "Nothing is agreed on freedom of information requests."
            if information is None
            else f"Freedom of information: {information}",
        ),
    )
    yield Block(
        "Objections",
        (
            _OPT_OUTS[element["opt_out_type"]],
            f"How people object: {element['opt_out']}",
            f"Opt-outs that were applied more than {_days(element['reapply_days'])} ago are applied again.",
        ),
    )


def _review(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    yield Block(
        "Term",
        (
            f"The agreement starts on {moment(element['starts'])}.",
            f"It ends on {moment(element['ends'])}: then nothing is processed and what was shared is deleted.",
            f"It is reviewed by {moment(element['review_by'])}; without a review there is no new processing.",
        ),
    )
    yield Block(
        "Review and end",
        (f"How its worth is judged: {element['measures']}", f"How it is ended early: {element['termination']}"),
    )


def _sanctions(element: Mapping[str, Any], _: Names) -> Iterator[Block]:
    yield Block(
        "When a party does not comply",
        (
            f"The sanctions, from mild to hard, are {listing(_SANCTIONS[step] for step in element['ladder'])}.",
            f"They are imposed by: {element['imposed_by']}",
            f"They are lifted by: {element['lifted_by']}",
            f"A party that finds a breach tells the others within {_hours(element['breach_notice_hours'])}.",
        ),
    )


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number:,} days"


def _hours(number: int) -> str:
    return "1 hour" if number == 1 else f"{number} hours"


def lines_of(said: Said) -> Sequence[str]:
    """Every sentence and entry, one after the other."""
    return [
        line
        for element in said.elements
        for block in element.blocks
        for line in (block.heading, *block.sentences, *block.listed)
    ]
