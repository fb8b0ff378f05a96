import pytest

from linkage_client.demo.people import generate
from linkage_client.encoding.recognise import Kind, identifying, match_columns, recognise, tidy


def kind_of(name: str, values: list[str]) -> Kind | None:
    return recognise(name, tidy(values)).kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("forename", Kind.GIVEN_NAME),
        ("First Name", Kind.GIVEN_NAME),
        ("givenname", Kind.GIVEN_NAME),
        ("PatientForename", Kind.GIVEN_NAME),
        ("middle_names", Kind.MIDDLE_NAME),
        ("LAST_NAME", Kind.SURNAME),
        ("familyName", Kind.SURNAME),
        ("client_surname", Kind.SURNAME),
        ("name", Kind.FULL_NAME),
        ("gender", Kind.SEX),
        ("Sex_Code", Kind.SEX),
        ("post_code", Kind.POSTCODE),
        ("PostalCode", Kind.POSTCODE),
        ("pcds", Kind.POSTCODE),
        ("address_1", Kind.ADDRESS),
        ("AddressLine1", Kind.ADDRESS),
        ("Address Line 2", Kind.LOCALITY),
        ("street_number", Kind.HOUSE_NUMBER),
        ("suburb", Kind.TOWN),
        ("Post Town", Kind.TOWN),
        ("state", Kind.COUNTY),
        ("phone", Kind.TELEPHONE),
        ("home_telephone_number", Kind.TELEPHONE),
        ("nhs_number", Kind.NHS_NUMBER),
        ("NHSNo", Kind.NHS_NUMBER),
        ("NINO", Kind.NATIONAL_INSURANCE_NUMBER),
        ("UPRN", Kind.UPRN),
        ("country_of_birth", Kind.PLACE_OF_BIRTH),
    ],
)
def test_recognise_name_says_what_it_holds(name: str, kind: Kind) -> None:
    assert kind_of(name, ["one", "two", "three"]) is kind


@pytest.mark.parametrize(
    "name", ["dob", "DateOfBirth", "birth_date", "date_of_birth", "PERSON_BIRTH_DATE", "Birthdate"]
)
@pytest.mark.parametrize(
    "form", ["{0}-{1:02d}-{2:02d}", "{2:02d}/{1:02d}/{0}", "{0}{1:02d}{2:02d}", "{2}.{1}.{0}", "{2} mar {0}"]
)
def test_recognise_date_of_birth_in_any_usual_spelling(name: str, form: str) -> None:
    values = [form.format(1930 + place, 1 + place % 12, 1 + place % 28) for place in range(60)]

    assert kind_of(name, values) is Kind.DATE_OF_BIRTH
    assert kind_of("column7", values) is Kind.DATE_OF_BIRTH


def test_recognise_dates_of_few_years_without_a_name_are_not_of_birth() -> None:
    found = recognise("column7", [f"{2019 + place % 5}-05-0{1 + place % 9}" for place in range(60)])

    assert found.kind is None
    assert "too few years" in found.reason


def test_recognise_name_is_not_believed_against_the_values() -> None:
    words = [f"word{place}" for place in range(50)]

    assert kind_of("dob", words) is None
    assert kind_of("sex", words) is None
    assert kind_of("email", words) is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["M", "F", "f", ""], Kind.SEX),
        (["male", "female"], Kind.SEX),
        (["LS1 4AP", "sw1a1aa", "M1 1AE"], Kind.POSTCODE),
        (["a@example.org", "b@example.org"], Kind.EMAIL),
        (["07700 900123", "+44 7700 900456", "(0113) 496 0000"], Kind.TELEPHONE),
        (["7", "12", "7"], Kind.OTHER_NUMBER),
        (["red", "blue"], Kind.OTHER_TEXT),
    ],
)
def test_recognise_values_decide_where_the_name_says_nothing(values: list[str], kind: Kind) -> None:
    assert kind_of("col3", values) is kind


@pytest.mark.parametrize("name", ["id", "record_id", "PatientId", "case_ref", "UUID", "row_number", "referral_key"])
def test_recognise_references_are_not_for_linkage(name: str) -> None:
    assert kind_of(name, ["17", "18", "19"]) is None


def test_recognise_unique_codes_and_long_texts_are_not_for_linkage() -> None:
    assert kind_of("x", [f"a{place}" for place in range(100)]) is None
    assert kind_of("x", [f"{'they said that ' * 4}{'abc'[place % 3]}" for place in range(100)]) is None


def test_tidy_words_for_nothing_known_are_empty() -> None:
    assert tidy(["  De  La Cruz ", "N/A", "unknown", "", None]) == ["de la cruz", "", "", "", ""]


def test_match_columns_other_names_of_the_same_kinds_are_aligned() -> None:
    first, second = generate(rows=200, seed=1).files
    renamed = {
        "given_name": "Forename",
        "surname": "FamilyName",
        "date_of_birth": "DOB",
        "sex": "gender",
        "address": "AddressLine1",
        "town": "City",
        "postcode": "PCode",
    }
    hospital = {"nhs_no": ["1"] * 199 + ["2"], **{renamed[name]: values for name, values in second.columns.items()}}

    match = match_columns({"council": {"id": list(first.record_ids), **first.columns}, "hospital": hospital})

    assert match.columns["hospital"] == {other: name for name, other in renamed.items()}
    assert match.columns["council"] == {name: name for name in renamed}
    assert [left.column for left in match.left_out["council"]] == ["id"]
    assert [left.column for left in match.left_out["hospital"]] == ["nhs_no"]
    assert "not every provider" in match.left_out["hospital"][0].reason


def test_match_columns_in_doubt_leaves_out() -> None:
    phones = ["07700900123", "07700900124"]
    match = match_columns(
        {
            "a": {"surname": ["x", "y"], "home_phone": phones, "mobile": phones},
            "b": {"surname": ["x", "y"], "telephone": phones},
        }
    )

    assert match.columns == {"a": {"surname": "surname"}, "b": {"surname": "surname"}}
    assert {left.column for left in match.left_out["a"]} == {"home_phone", "mobile"}
    assert "several columns" in match.left_out["a"][0].reason


def test_match_columns_canonical_name_wins_over_another_of_its_kind() -> None:
    table = {"surname": ["x", "y"], "family": ["x", "z"]}

    match = match_columns({"a": table, "b": table})

    assert match.columns["a"] == {"surname": "surname"}


def test_match_columns_unknown_kinds_are_aligned_by_name() -> None:
    match = match_columns(
        {"a": {"Eye Colour": ["red", "blue"]}, "b": {"eye_colour": ["blue", "green"], "q": ["1", "2"]}}
    )

    assert match.columns == {"a": {"Eye Colour": "eye_colour"}, "b": {"eye_colour": "eye_colour"}}


def test_match_columns_spelling_variants_in_one_file_are_left_out() -> None:
    match = match_columns({"a": {"eye_colour": ["red", "blue"], "Eye-Colour": ["red", "blue"]}})

    assert match.columns == {"a": {}}
    assert len(match.left_out["a"]) == 2


def test_match_columns_no_provider_gives_nothing() -> None:
    assert not match_columns({}).columns


@pytest.mark.parametrize(
    "name",
    [
        *("Forename", "surname_2", "mothers_surname", "previous_address", "gp_postcode", "kin_phone", "DOB", "addr1"),
        *("nhs_number", "soc_sec_id", "case_ref", "patient_id", "emailHome", "pref_forename", "address_2", "UPRN"),
    ],
)
def test_identifying_by_name_even_against_the_values(name: str) -> None:
    assert identifying(name, tidy(["x", "y"])) is not None
    assert identifying(name, []) is not None


@pytest.mark.parametrize(
    "values",
    [
        ["9434765919", "943 476 5870"],
        ["ab 12 34 56 c", "CD123456D"],
        ["YO1 7HH", "ls1 4ap"],
        ["ann@example.org"],
        ["01632 960001", "+441632960002"],
        [f"{1930 + place}-03-0{1 + place % 9}" for place in range(60)],
    ],
)
def test_identifying_by_values_whatever_the_name(values: list[str]) -> None:
    assert identifying("column7", tidy(values)) is not None


@pytest.mark.parametrize("name", ["score", "sex", "town", "county", "episode", "ward", "gp_code", "school", "1", "ÄÖ"])
def test_identifying_leaves_what_many_share(name: str) -> None:
    assert identifying(name, tidy([f"{place}.5" for place in range(50)])) is None


def test_identifying_ten_digits_without_the_check_digit_are_a_number() -> None:
    assert identifying("amount", [str(1_000_000_000 + place) for place in range(50)]) is None
