"""One row about an agreement for the registers that public bodies keep.

The Digital Economy Act 2017 register: the 18 fields, in their order, of the register "Information sharing agreements
under chapters 1, 2, 3 and 4 of part 5 of the Digital Economy Act 2017" as published on GOV.UK
(registers.service.gov.uk/registers/information-sharing-agreement-0001). The record of processing: Article 30(1)(a) to
(g) of the GDPR, with the joint controllers of Article 26.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from linkage_client.agreements.signatures import SignedDocument, checked_digest
from linkage_client.agreements.validation import check
from linkage_client.agreements.words import Names, moment, retention_in_words, security_in_words

DEA_COLUMNS: Final = (
    "Information sharing agreement 0001", "Name", "Purpose", "Information sharing benefits", "Legal power disclosure",
    "Disclosed information", "Controllers", "Controller names", "Information sharing method", "Processors",
    "Processor names", "Retention period", "Start date", "End date", "Review date", "Contact", "Areas", "Area names",
)  # fmt: skip
ARTICLE_30_COLUMNS: Final = (
    "Agreement", "Digest of the agreement", "(a) Controllers", "(a) Joint controllers",
    "(a) Arrangement of the joint controllers", "(a) Data protection officers", "(b) Purposes of the processing",
    "(c) Categories of data subjects", "(c) Categories of personal data", "(d) Categories of recipients",
    "(e) Transfers to third countries", "(f) Time limits for erasure", "(g) Security measures",
)  # fmt: skip
_METHOD: Final = (
    "Pseudonymous record linkage: each provider encodes identifiers on its own machines with a secret that the linkage "
    "unit does not hold; the unit matches the encodings and gives out link ids."
)
_FORMULA: Final = frozenset("=+-@\t\r\n")


def dea_csv(signed: SignedDocument) -> str:
    """A header line and one row for the Digital Economy Act register. Areas are not part of an agreement: left empty.

    Raises:
        AgreementInvalidError: it is no agreement.
        AgreementMismatchError: the stated digest is not that of the text.
    """
    document, names = _verified(signed)
    purpose, review = document["purpose"], document["review"]
    controllers, processors = _controllers(document), _processors(document)
    return _csv(
        DEA_COLUMNS,
        (
            document["reference"],
            document["title"],
            _several(item["text"] for item in purpose["purposes"]),
            _several(item["benefits"] for item in purpose["purposes"]),
            purpose["lawful_basis"]["legal_power"],
            _several([document["data"]["population"], f"Encoded fields: {_fields(document)}"]),
            _several(controllers),
            _several(map(names.short, controllers)),
            _METHOD,
            _several(processors),
            _several(map(names.short, processors)),
            _several(retention_in_words(document["retention"])),
            _day(review["starts"]),
            _day(review["ends"]),
            _day(review["review_by"]),
            document["rights"]["contact"],
            "",
            "",
        ),
    )


def article30_csv(signed: SignedDocument) -> str:
    """A header line and one row for the record of processing activities.

    Raises:
        AgreementInvalidError: it is no agreement.
        AgreementMismatchError: the stated digest is not that of the text.
    """
    document, names = _verified(signed)
    recipients = document["recipients"]
    data = document["data"]
    return _csv(
        ARTICLE_30_COLUMNS,
        (
            document["reference"],
            signed.stated_digest,
            _several(map(names.of, _controllers(document))),
            _several(map(names.of, recipients.get("joint_controllers") or [])) or "none",
            recipients.get("joint_arrangement") or "",
            _several(
                f"{names.short(party['organisation'])}: {party['contacts']['dpo']}" for party in recipients["parties"]
            ),
            _several(item["text"] for item in document["purpose"]["purposes"]),
            data["population"],
            _several(
                [
                    f"Encoded identifiers: {_fields(document)}",
                    "Special category data" if data["special_category"] else "No special category data",
                    f"Results: {', '.join(data['outputs'])}",
                ]
            ),
            _several(
                names.of(party["organisation"]) for party in recipients["parties"] if "recipient" in party["roles"]
            ),
            data.get("international_transfers") or "none",
            _several(retention_in_words(document["retention"])),
            _several(security_in_words(document["security"])),
        ),
    )


def _verified(signed: SignedDocument) -> tuple[Mapping[str, Any], Names]:
    check(signed.document)
    checked_digest(signed)
    return signed.document, Names(signed.names)


def _controllers(document: Mapping[str, Any]) -> list[str]:
    return [p["organisation"] for p in document["recipients"]["parties"] if set(p["roles"]) != {"processor"}]


def _processors(document: Mapping[str, Any]) -> list[str]:
    return [p["organisation"] for p in document["recipients"]["parties"] if "processor" in p["roles"]]


def _fields(document: Mapping[str, Any]) -> str:
    return ", ".join(document["data"]["identifier_fields"])


def _several(items: Any) -> str:
    return "; ".join(items)


def _day(text: str) -> str:
    return moment(text).partition(" at ")[0]


def _csv(columns: Sequence[str], row: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows([columns, [_cell(value) for value in row]])
    return out.getvalue()


def _cell(value: str) -> str:
    """One line of text that no spreadsheet takes for a formula."""
    line = " ".join(value.split())
    return f"'{line}" if line[:1] in _FORMULA else line
