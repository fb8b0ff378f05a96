"""Agreement documents on a party's machine: checked as the service does, said in full, registered, verified."""

import copy
import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from linkage_client.agreements import json_schema, registers, signatures
from linkage_client.agreements.page import page
from linkage_client.agreements.showing import Shown, shown
from linkage_client.agreements.signatures import SignedDocument
from linkage_client.agreements.text import text
from linkage_client.agreements.validation import check, findings
from linkage_client.agreements.words import Names, say
from linkage_client.errors import AgreementInvalidError, AgreementMismatchError, FileFormatError
from linkage_client.keys import SigningKey, document_digest, sign_agreement
from linkage_service.agreements.document import AgreementDocument, json_schema_text
from linkage_service.agreements.example import DOCUMENT

ROOT = Path(__file__).parents[3]
DATA = Path(__file__).parent / "data"
PARTIES = [party["organisation"] for party in DOCUMENT["recipients"]["parties"]]
NAMES = dict(zip(PARTIES, ("Northshire Council", "Northshire Hospitals", "=Northshire Planning"), strict=True))
FULL: dict[str, Any] = copy.deepcopy(DOCUMENT)
FULL["purpose"]["lawful_basis"]["article9"] = "9(2)(h)"
FULL["recipients"]["joint_controllers"] = PARTIES[:2]
FULL["recipients"]["joint_arrangement"] = "The council answers people's requests."
FULL["recipients"]["parties"][0]["contacts"] = {**DOCUMENT["recipients"]["parties"][0]["contacts"], "caldicott": "Dr C"}
FULL["recipients"]["parties"][1]["may_hold_duplicates"] = True
FULL["data"] |= {
    "outputs": ["link_table_matched", "summary"],
    "columns": ["match_probability", "group_size"],
    "special_category": True,
    "international_transfers": "None but to Jersey.",
}
FULL["quality"]["sampling_plan"] = "200 links a year."
FULL["security"] |= {"maximum_reidentification": 0.055, "secret_exchange": "mlkem768-x25519"}
FULL["rights"]["freedom_of_information"] = "Each party for itself."
FULL["purpose"]["necessity"] = "=HYPERLINK(1)\nA second line."


def _put(document: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    target: Any = changed
    *steps, last = pointer.split("/")[1:]
    for step in steps:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if value is ...:
        del target[last]
    else:
        target[int(last) if isinstance(target, list) else last] = value
    return changed


def _signed(document: dict[str, Any], *, by: dict[str, SigningKey] | None = None, **about: Any) -> SignedDocument:
    digest = document_digest(document)
    keys = by or {}
    return SignedDocument(
        document=document,
        stated_digest=digest,
        signatures={org: sign_agreement(digest=digest, signing_key=key) for org, key in keys.items()},
        keys={org: key.public_jwk for org, key in keys.items()},
        names=NAMES,
        about=about,
    )


def _shown(document: dict[str, Any], **parts: Any) -> Shown:
    made_at = datetime(2026, 11, 28, tzinfo=UTC)
    return shown(_signed(document, **parts), made_by="linkage-client 1", made_at=made_at)


def test_published_schema_is_the_one_of_the_code_in_both_places() -> None:
    written = json_schema_text()
    again = "run `linkage-service agreement-schema` and put it into both places"
    assert (ROOT / "openapi" / "agreement.schema.json").read_text("utf-8") == written, again
    packaged = ROOT / "client_sdk" / "src" / "linkage_client" / "agreements" / "agreement.schema.json"
    assert packaged.read_text("utf-8") == written, again


def _properties(schema: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in schema.get("$defs", {}).items():
        yield from _properties(inner, f"{where}/{name}")
    for name, inner in schema.get("properties", {}).items():
        yield f"{where}/{name}", inner


def test_every_field_of_the_published_schema_has_a_title_and_a_description() -> None:
    bare = [
        where
        for where, field in _properties(json_schema.agreement_schema())
        if not field.get("title") or not field.get("description", "").endswith(".")
    ]
    assert bare == []
    jsonschema.Draft202012Validator.check_schema(dict(json_schema.agreement_schema()))


@pytest.mark.parametrize("document", [DOCUMENT, FULL], ids=["example", "full"])
def test_whole_document_is_valid_on_both_sides(document: dict[str, Any]) -> None:
    assert findings(document) == ()
    AgreementDocument.model_validate(document)


@pytest.mark.parametrize(
    ("pointer", "value", "words"),
    [
        ("/recipients/parties/2/organisation", PARTIES[0], "an organisation is named twice among the parties"),
        ("/recipients/parties/0/roles", ["recipient"], "at least two parties must be providers"),
        ("/recipients/parties/2/roles", ["processor"], "at least one party must be a recipient"),
        ("/recipients/parties/2/may_hold_duplicates", True, "this party is no provider"),
        ("/data/outputs", ["link_table_blind", "link_table_matched"], "blind tables cannot be given"),
        ("/recipients/parties/2/circumstances/hours/closes", "06:00", "opens must be before closes"),
        ("/recipients/parties/2/circumstances/hours/timezone", "Europe/Nowhere", "must be a time zone"),
        ("/recipients/parties/2/circumstances/networks/0", "nowhere", "must be a network such as"),
        ("/recipients/joint_controllers", PARTIES[:1], "joint_controllers needs at least two parties"),
        ("/recipients/joint_controllers", [PARTIES[0], "org_" + "0" * 26], "names an organisation that is not a party"),
        ("/recipients/joint_arrangement", None, "say both or neither"),
        ("/quality/min_completeness", {"postcode": 0.5}, "min_completeness names a field that is not among"),
        ("/data/outputs", ["summary"], "columns belong to matched link tables"),
        ("/purpose/lawful_basis/article9", None, "special category data need a condition of Article 9"),
        ("/purpose/purposes", DOCUMENT["purpose"]["purposes"] * 2, "two purposes have the same code"),
        ("/review/ends", "2025-01-01T00:00:00Z", "starts must be before ends"),
        ("/review/review_by", "2028-01-01T00:00:00Z", "review_by must be after starts and not after ends"),
        ("/review/ends", "2300-01-01T00:00:00Z", "must lie in the years 1900 to 2200"),
        ("/data/outputs", ["summary", "summary"], "names something twice"),
        ("/purpose/necessity", "a\u202eb", "must not hold control characters but line breaks and tabs"),
    ],
)
def test_rule_between_fields_is_said_in_the_same_words_on_both_sides(pointer: str, value: Any, words: str) -> None:
    broken = _put(FULL, pointer, value)
    assert any(words in item.message for item in findings(broken))
    with pytest.raises(ValidationError, match=words):
        AgreementDocument.model_validate(broken)


@pytest.mark.parametrize(
    ("pointer", "value", "message"),
    [
        ("/title", ..., "This is required."),
        ("/title", " ", "This must be one line, and not blank."),
        ("/title", 7, "This must be text."),
        ("/extra", 1, "This is not a known field."),
        ("/retention/encodings_days", 0, "This must be 1 or more."),
        ("/retention/encodings_days", True, "This must be a whole number."),
        ("/quality/target_precision", 1, "This must be less than 1."),
        ("/data/outputs/0", "everything", "This must be one of: link_table_blind, link_table_matched, summary."),
        ("/review/starts", "2026-01-01", "This must be a date and time with its zone, such as 2026-01-31T00:00:00Z."),
        ("/rights/privacy_notice_url", "nowhere", "This must be a web address, such as https://example.org/privacy."),
        ("/security/second_factor", False, "This must be true."),
        ("/recipients/parties", [], "This needs at least 2 entries."),
    ],
)
def test_finding_names_the_place_in_plain_words(pointer: str, value: Any, message: str) -> None:
    broken = _put(DOCUMENT, pointer, value)
    assert (pointer, message) in [(item.pointer, item.message) for item in findings(broken)]
    with pytest.raises(ValidationError):
        AgreementDocument.model_validate(broken)
    with pytest.raises(AgreementInvalidError, match=pointer):
        check(broken)


def _leaves(value: Any, at: str = "") -> Iterator[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield at
        return
    for name, item in inner:
        yield from _leaves(item, f"{at}/{name}")


LEAVES = list(_leaves(FULL))
_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 5000), st.floats(-1, 2), st.text(max_size=6), st.just(["x"]), st.just({})
)


@settings(max_examples=150, deadline=None)
@given(pointer=st.sampled_from(LEAVES), value=_ODD)
def test_own_checker_agrees_with_a_complete_implementation(pointer: str, value: Any) -> None:
    broken = _put(FULL, pointer, value)
    # Formats are annotations to the other one.
    own = [item for item in json_schema.findings_of(broken) if "date and time" not in item.message]
    own = [item for item in own if "web address" not in item.message]
    theirs = list(jsonschema.Draft202012Validator(dict(json_schema.agreement_schema())).iter_errors(broken))
    assert bool(own) == bool(theirs)


def test_checker_refuses_a_schema_with_a_keyword_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="keywords"):
        list(json_schema.findings_of({}, {"type": "object", "minProperties": 1}))


def _said(document: dict[str, Any]) -> str:
    return " ".join(text(_shown(document), columns=80).split())


@pytest.mark.parametrize("pointer", [leaf for leaf in LEAVES if leaf not in {"/format", "/security/second_factor"}])
def test_every_value_of_a_document_changes_what_is_read(pointer: str) -> None:
    before: Any = FULL
    for step in pointer.split("/")[1:]:
        before = before[int(step)] if isinstance(before, list) else before[step]
    others: list[Any] = [
        None,
        not before,
        "Changed words",
        "2026-11-02T00:00:00Z",
        "2026-02-02T00:00:00Z",
        "https://else.example/",
        "ab" * 32,
    ]
    others += [
        "08:00",
        "10.0.0.0/8",
        "Europe/Paris",
        "sat",
        "hardened",
        "standards_exceeded",
        "none",
        "processor",
        "x25519",
    ]
    others += ["org_" + "0" * 26, "link_table_blind", "changed-code", 7, 0.6, 20]
    changed = [_put(FULL, pointer, other) for other in others if other != before]
    valid = [document for document in changed if not findings(document)]
    if not valid:  # tied to another field by a rule
        assert pointer.startswith(("/recipients/", "/data/", "/sanctions/ladder"))
        return
    digest = document_digest(FULL)
    read = {_said(document).partition("What is signed")[0] for document in [FULL, valid[0]]}
    assert document_digest(valid[0]) != digest
    assert len(read) == 2


def test_document_with_a_field_that_is_not_known_is_not_said() -> None:
    with pytest.raises(AgreementInvalidError):
        say({**DOCUMENT, "small_print": "Everything is different."})


def test_text_fits_the_terminal_and_keeps_line_breaks() -> None:
    lines = text(_shown(FULL), columns=60).splitlines()
    assert max(map(len, lines)) <= 60 or all(" " not in line.strip() for line in lines if len(line) > 60)
    assert "  A second line." in lines


def test_page_escapes_and_loads_nothing() -> None:
    made = page(_shown(_put(DOCUMENT, "/title", "<script>alert(1)</script>")))
    assert "<script" not in made
    assert "default-src &#x27;none&#x27;" in made
    assert "http://" not in made.replace("http://www.w3.org", "")


def test_page_and_terminal_say_the_same() -> None:
    in_page = page(_shown(FULL))
    for element in say(FULL, Names(NAMES)).elements:
        for block in element.blocks:
            for line in (*block.sentences, *block.listed):
                assert line.split("\n")[0].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in in_page


@pytest.mark.parametrize("register", ["dea", "article30"])
def test_register_row_is_as_agreed_on(register: str) -> None:
    make = registers.dea_csv if register == "dea" else registers.article30_csv
    golden = DATA / f"agreement-{register}.csv"
    assert make(_signed(FULL)).encode() == golden.read_bytes()


def test_dea_register_has_its_eighteen_columns_and_one_row() -> None:
    header, row = csv.reader(io.StringIO(registers.dea_csv(_signed(FULL))))
    assert len(header) == len(row) == 18


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_register_cell_is_no_formula(start: str) -> None:
    document = _put(DOCUMENT, "/title", f"{start}cmd|'/c calc'!A0")
    for made in (registers.dea_csv(_signed(document)), registers.article30_csv(_signed(document))):
        cells = [cell for row in csv.reader(io.StringIO(made)) for cell in row]
        assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@", "\t"}]


def test_register_of_another_text_than_stated_is_refused() -> None:
    with pytest.raises(AgreementMismatchError):
        registers.dea_csv(SignedDocument({**DOCUMENT}, "00" * 32, {}, {}))


def _keys() -> dict[str, SigningKey]:
    return {party: SigningKey.generate() for party in PARTIES}


def test_signatures_of_all_parties_verify_from_a_bundle() -> None:
    bundle = json.loads(json.dumps(signatures.to_bundle(_signed(DOCUMENT, by=_keys(), version=1))))
    read = signatures.from_bundle(bundle)
    assert [item.state for item in signatures.check_signatures(read)] == ["valid"] * 3
    signatures.require_all(read)


def test_missing_forged_and_keyless_signatures_are_told_apart() -> None:
    made = _signed(DOCUMENT, by=_keys())
    one, two, three = PARTIES
    forged = {**made.signatures, one: made.signatures[two]}
    del forged[two]
    tampered = SignedDocument(DOCUMENT, made.stated_digest, forged, {one: made.keys[one]})
    assert [item.state for item in signatures.check_signatures(tampered)] == ["wrong", "missing", "no_key"]
    with pytest.raises(AgreementMismatchError, match=three):
        signatures.require_all(tampered)


def test_key_that_is_not_what_the_organisation_says_is_told() -> None:
    keys = _keys()
    made = _signed(DOCUMENT, by=keys)
    right = {PARTIES[0]: keys[PARTIES[0]].thumbprint, PARTIES[1]: "another"}
    assert [item.state for item in signatures.check_signatures(made, expected=right)] == ["valid", "other_key", "valid"]


def test_bundle_whose_text_was_changed_is_refused() -> None:
    bundle = signatures.to_bundle(_signed(DOCUMENT, by=_keys()))
    bundle["document"] = {**bundle["document"], "title": "Another"}
    with pytest.raises(AgreementMismatchError):
        signatures.check_signatures(signatures.from_bundle(bundle))


@pytest.mark.parametrize("content", [{}, {"format": signatures.FORMAT}, {"format": signatures.FORMAT, "document": {}}])
def test_file_that_is_no_bundle_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(FileFormatError):
        signatures.from_bundle(content)
