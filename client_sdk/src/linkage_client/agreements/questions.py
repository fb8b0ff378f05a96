"""The questions that make an agreement document, one for each field, in the words of the published JSON Schema.

Which question comes next follows from the answers so far, so an interview can be left, gone back in and taken up again.
Answers are kept by the JSON pointer of the field that they fill.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

from linkage_client.agreements.json_schema import Finding, agreement_schema, joined, resolved
from linkage_client.agreements.validation import findings
from linkage_client.agreements.words import TITLES
from linkage_client.errors import AgreementInvalidError

Kind = Literal["text", "flag", "whole", "share", "choice", "choices", "moment", "organisation", "organisations", "list"]
ELEMENTS: Final = (
    "purpose", "recipients", "data", "quality", "security", "retention", "rights", "review", "sanctions",
)  # fmt: skip
_MORE: Final = "?more"
_RESTRICTED: Final = "?restricted"
_HOURS: Final = "?hours"
# Nobody is asked what has one answer only.
_FIXED: Final = frozenset({"/format", "/security/second_factor"})
# The arrangement is the question after the one about joint controllers.
_ASKED_NEXT: Final = "say both or neither"
_LADDER: Final = ["warn", "suspend_client", "suspend_organisation", "suspend_agreement", "terminate"]
_CONTROLS: Final = {
    "/purpose/purposes": ("Another purpose?", "Each purpose has a code, a text and its benefits."),
    "/recipients/parties": ("Another party?", "Every organisation that takes part, as provider, recipient or both."),
    _RESTRICTED: ("Is this party restricted?", "Whether it may act only from certain networks, hours or people."),
    _HOURS: ("Is this party restricted to certain hours?", "Days and times at which it may act."),
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        pointer: the field that the answer fills, as a JSON pointer; with "?" in it, it only decides what is asked next.
        title: the field in a few words.
        help: what it holds, in a sentence.
        kind: how an answer is read.
        example: one for people; empty where the choices say enough.
        default: the answer of whoever gives none; None where there is none.
        optional: whether it may be left out.
        choices: what can be answered; empty for free answers.
    """

    pointer: str
    title: str
    help: str
    kind: Kind
    example: str = ""
    default: Any = None
    optional: bool = False
    choices: tuple[str, ...] = ()

    @property
    def element(self) -> int | None:
        """Number of the element that it belongs to; None before the first."""
        name = self.pointer.split("/")[1]
        return ELEMENTS.index(name) + 1 if name in ELEMENTS else None

    @property
    def element_title(self) -> str:
        """The element's name."""
        return "About the agreement" if self.element is None else f"{self.element} {TITLES[self.element - 1]}"

    @property
    def is_control(self) -> bool:
        """Whether the answer only decides what is asked next."""
        return "?" in self.pointer


Answers = Mapping[str, Any]


def next_question(answers: Answers, *, today: date) -> Question | None:
    """The first question without an answer; None when there is none left."""
    return next((question for question in questions(answers, today=today) if question.pointer not in answers), None)


def questions(answers: Answers, *, today: date) -> Iterator[Question]:
    """The questions as far as the answers lead, in order; the last one has no answer unless all have."""
    yield _field("/reference", example=f"ISP-{today.year}-001")
    yield _field("/title", example="Linkage of housing and health records to plan services")
    yield from _purpose(answers)
    yield from _recipients(answers)
    yield from _data(answers)
    yield from _quality(answers)
    yield _field("/security/encoding_profile", example="clk-1024-v1")
    yield _field("/security/minimum_tier")
    yield _field("/security/minimum_assurance")
    yield _field("/security/key_rotation_days", default=365)
    yield _field("/security/maximum_reidentification", example="0.05")
    yield _field("/security/secret_exchange")
    yield _field("/retention/encodings_days", default=30)
    yield _field("/retention/link_tables_days", default=90)
    yield _field("/retention/audit_bodies_days", default=3650)
    yield _field("/retention/max_retrievals", default=10)
    yield _field("/retention/disposal_certificate")
    yield _field("/rights/contact", example="rights@northshire.example")
    yield _field("/rights/privacy_notice_url", example="https://northshire.example/privacy")
    yield _field("/rights/opt_out_type")
    yield _field("/rights/opt_out", example="In writing to the contact point; the record is then left out.")
    for name, days in (("reapply_days", 90), ("complaint_days", 30), ("access_request_days", 30)):
        yield _field(f"/rights/{name}", default=days)
    yield _field("/rights/freedom_of_information", example="Each party answers for itself; a summary is published.")
    year = today.year + 1
    yield _field("/review/starts", example=f"{today.isoformat()}", default=f"{today.isoformat()}T00:00:00Z")
    yield _field("/review/ends", example=f"{year}-12-31")
    yield _field("/review/review_by", example=f"{year}-06-30")
    yield _field("/review/measures", example="A yearly report on what was planned with the results.")
    yield _field("/review/termination", example="With 30 days' notice; its encodings are then deleted at once.")
    yield _field("/sanctions/ladder", default=_LADDER)
    yield _field("/sanctions/imposed_by", example="The information governance board of the linkage unit")
    yield _field("/sanctions/lifted_by", default=answers.get("/sanctions/imposed_by"))
    yield _field("/sanctions/breach_notice_hours", default=24)


def _purpose(answers: Answers) -> Iterator[Question]:
    for place in _repeated(answers, "/purpose/purposes", least=1):
        where = f"/purpose/purposes/{place}"
        if place:
            yield _control(f"{where}{_MORE}", "/purpose/purposes")
            if not answers.get(f"{where}{_MORE}"):
                break
        yield _field(f"{where}/code", example="service-planning")
        yield _field(f"{where}/text", example="To plan services for people who use more than one of them.")
        yield _field(f"{where}/benefits", example="Services where they are needed; nobody is asked twice.")
    yield _field("/purpose/lawful_basis/article6", example="6(1)(e)")
    yield _field("/purpose/lawful_basis/article9", example="9(2)(h)")
    yield _field("/purpose/lawful_basis/legal_power", example="Digital Economy Act 2017, section 35.")
    yield _field(
        "/purpose/lawful_basis/duty_of_confidentiality", example="Not engaged: no confidential record is seen."
    )
    yield _field("/purpose/dpia_ref", example="DPIA-2026-014")
    yield _field("/purpose/necessity", example="Encodings are matched; identifiers stay where they are.")


def _recipients(answers: Answers) -> Iterator[Question]:
    for place in _repeated(answers, "/recipients/parties", least=2):
        where = f"/recipients/parties/{place}"
        if place > 1:
            yield _control(f"{where}{_MORE}", "/recipients/parties")
            if not answers.get(f"{where}{_MORE}"):
                break
        yield _field(f"{where}/organisation", kind="organisation")
        yield _field(f"{where}/roles")
        if "provider" in (answers.get(f"{where}/roles") or []):
            yield _field(f"{where}/may_hold_duplicates")
        yield _field(f"{where}/contacts/dpo", example="dpo@northshire.example")
        yield _field(f"{where}/contacts/siro", example="siro@northshire.example")
        yield _field(f"{where}/contacts/caldicott", example="caldicott@northshire.example")
        yield _control(f"{where}/circumstances{_RESTRICTED}", _RESTRICTED)
        if answers.get(f"{where}/circumstances{_RESTRICTED}"):
            yield from _circumstances(answers, f"{where}/circumstances")
    yield _field("/recipients/joint_controllers", kind="organisations", default=[])
    if answers.get("/recipients/joint_controllers"):
        yield _field("/recipients/joint_arrangement", example="The council answers requests for all.", optional=False)


def _circumstances(answers: Answers, where: str) -> Iterator[Question]:
    yield _field(f"{where}/networks", example="192.0.2.0/24, 2001:db8::/32")
    yield _control(f"{where}/hours{_HOURS}", _HOURS)
    if answers.get(f"{where}/hours{_HOURS}"):
        yield _field(f"{where}/hours/days", default=["mon", "tue", "wed", "thu", "fri"])
        yield _field(f"{where}/hours/opens", default="07:00")
        yield _field(f"{where}/hours/closes", default="19:00")
        yield _field(f"{where}/hours/timezone", default="Europe/London")
    yield _field(f"{where}/people", example="Analysts who hold the yearly training.")


def _data(answers: Answers) -> Iterator[Question]:
    yield _field("/data/linkage_schema_sha256", example="printed by `linkage schema check FILE`; or use --schema FILE")
    yield _field("/data/identifier_fields", example="given_name, surname, date_of_birth")
    yield _field("/data/outputs", default=["link_table_blind", "summary"])
    if "link_table_matched" in (answers.get("/data/outputs") or []):
        yield _field("/data/columns", default=[])
    yield _field("/data/population", example="Adults who live in Northshire, with records from 2024 on.")
    yield _field("/data/special_category", default=False)
    yield _field("/data/min_group_count", default=10)
    yield _field("/data/onward_sharing", example="None.")
    yield _field("/data/international_transfers")


def _quality(answers: Answers) -> Iterator[Question]:
    for name in answers.get("/data/identifier_fields") or []:
        escaped = str(name).replace("~", "~0").replace("/", "~1")
        said = _at("/quality/min_completeness")
        yield Question(
            pointer=f"/quality/min_completeness/{escaped}",
            title=f"{said['title']}: {name}",
            help=said["description"],
            kind="share",
            example="0.9",
            optional=True,
        )
    yield _field("/quality/target_precision", example="0.98")
    yield _field("/quality/sampling_plan", example="200 links a year are looked at by two people.")


# --- answers ---------------------------------------------------------------------------------------------------------


def document_of(answers: Answers) -> dict[str, Any]:
    """The document that the answers make; answers of None are left out."""
    document: dict[str, Any] = {"format": 1}
    if "/data/identifier_fields" in answers:
        document["quality"] = {"min_completeness": {}}
    for pointer, answer in answers.items():
        if "?" not in pointer and answer is not None:
            _put(document, [_unescaped(step) for step in pointer.split("/")[1:]], answer)
    return document


def wrong_with(question: Question, answer: Any, answers: Answers) -> tuple[Finding, ...]:
    """What is wrong with an answer, beside the answers so far."""
    if question.is_control:
        # Whoever says that there is no other party is told if one is missing.
        ended = question.pointer.startswith("/recipients/parties") and question.pointer.endswith(_MORE) and not answer
        found = findings(document_of(answers)) if ended else ()
        return tuple(item for item in found if item.message.startswith("at least"))
    if answer is None:
        return () if question.optional else (Finding(question.pointer, "This is required."),)
    before, after = findings(document_of(answers)), findings(document_of({**answers, question.pointer: answer}))
    here = question.pointer
    about = [
        item
        for item in after
        if (item.pointer == here or item.pointer.startswith(f"{here}/")) and not item.message.endswith(_ASKED_NEXT)
    ]
    # Rules between fields come up with the second of them. That parties are missing is no fault of the first.
    also = [
        item
        for item in after
        if item not in before
        and item not in about
        and not item.message.endswith(_ASKED_NEXT)
        and item.message[:1].islower()
        and not item.message.startswith("at least")
    ]
    return (*about, *also)


def answers_of(document: Mapping[str, Any], *, today: date) -> dict[str, Any]:
    """The answers that a document, or the part of one that is given, stands for; defaults fill what is left open.

    Raises:
        AgreementInvalidError: a field has no default and is not given, or something is given that is not asked for.
    """
    answers: dict[str, Any] = {}
    while (question := next_question(answers, today=today)) is not None:
        pointer = question.pointer
        if question.is_control:
            answers[pointer] = _given(document, pointer.partition("?")[0]) is not None
            continue
        given = _given(document, pointer)
        if given is None and question.default is None and not question.optional:
            raise AgreementInvalidError(f"{pointer} is missing: {question.help}")
        answers[pointer] = question.default if given is None else given
    made = document_of(answers)
    for pointer, value in _leaves(document, ""):
        if value != _given(made, pointer) and pointer not in _FIXED:
            raise AgreementInvalidError(f"{pointer} is given, but an agreement with these answers has no such field.")
    return answers


def _leaves(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """What is given at the ends of a document; null and empty lists say that nothing is."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, joined(pointer, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, joined(pointer, place))
    elif value is not None:
        yield pointer, value


def _given(document: Any, pointer: str) -> Any:
    found = document
    for step in map(_unescaped, pointer.split("/")[1:]):
        if isinstance(found, list):
            found = found[int(step)] if step.isdigit() and int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _put(target: Any, steps: list[str], answer: Any) -> None:
    step, *more = steps
    if isinstance(target, list):
        place = int(step)
        if place == len(target):
            target.append({})
        target = target[place]
        if more:
            _put(target, more, answer)
        return
    if not more:
        target[step] = answer
        return
    _put(target.setdefault(step, [] if more[0].isdigit() else {}), more, answer)


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")


# --- questions from the schema ---------------------------------------------------------------------------------------


def _field(
    pointer: str, *, example: str = "", kind: Kind | None = None, default: Any = None, optional: bool | None = None
) -> Question:
    said = _at(pointer)
    inner = next((resolved(c) for c in said.get("anyOf", []) if c.get("type") != "null"), said)
    may_be_null = "anyOf" in said
    chosen = resolved(inner.get("items", {}))
    return Question(
        pointer=pointer,
        title=said["title"],
        help=said["description"],
        kind=kind or _kind(inner),
        example=example,
        default=said.get("default") if default is None else default,
        optional=may_be_null if optional is None else optional,
        choices=tuple(inner.get("enum") or chosen.get("enum") or ()),
    )


def _control(pointer: str, name: str) -> Question:
    title, text = _CONTROLS[name]
    return Question(pointer=pointer, title=title, help=text, kind="flag", default=False)


def _kind(schema: Mapping[str, Any]) -> Kind:
    if schema.get("type") == "array":
        return "choices" if "enum" in resolved(schema["items"]) else "list"
    if "enum" in schema:
        return "choice"
    if schema.get("format") == "date-time":
        return "moment"
    kinds: Mapping[str, Kind] = {"boolean": "flag", "integer": "whole", "number": "share", "string": "text"}
    return kinds[schema["type"]]


def _at(pointer: str) -> Mapping[str, Any]:
    """What the published schema says of a field."""
    schema: Mapping[str, Any] = agreement_schema()
    for step in pointer.split("/")[1:]:
        inner = next((resolved(c) for c in schema.get("anyOf", []) if c.get("type") != "null"), schema)
        schema = resolved(inner["items"] if step.isdigit() else inner["properties"][step])
    return schema


def _repeated(answers: Answers, where: str, *, least: int) -> range:
    """Places of a list that may be asked about: those answered, and one more."""
    places = [int(key[len(where) + 1 :].split("/")[0].split("?")[0]) for key in answers if key.startswith(f"{where}/")]
    return range(max([least, *(place + 2 for place in places)]))
