import csv
import re
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkage_client.demo.mistakes import ErrorRates
from linkage_client.demo.people import COLUMNS, People, generate
from linkage_client.demo.places import TOWNS


def entities(people: People) -> list[set[int]]:
    return [set(file.entities.tolist()) for file in people.files]


@settings(max_examples=30, deadline=None)
@given(providers=st.integers(2, 10), rows=st.integers(1, 60), overlap=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_generate_any_arguments_gives_rows_and_overlap_asked_for(
    providers: int, rows: int, overlap: float, seed: int
) -> None:
    people = generate([f"p{number}" for number in range(providers)], rows, overlap=overlap, seed=seed)

    held = entities(people)
    assert [len(file) for file in people.files] == [rows] * providers
    assert [len(ids) for ids in held] == [rows] * providers  # nobody twice in one file
    for place, ids in enumerate(held):
        others = set().union(*(other for number, other in enumerate(held) if number != place))
        assert len(ids & others) == round(rows * overlap)
    for file in people.files:
        assert tuple(file.columns) == COLUMNS
        assert {len(values) for values in file.columns.values()} == {rows}
        assert len(set(file.record_ids)) == rows


def test_generate_same_seed_gives_same_people() -> None:
    first, second = generate(rows=300, seed=7), generate(rows=300, seed=7)

    assert [file.columns for file in first.files] == [file.columns for file in second.files]
    assert [file.record_ids for file in first.files] == [file.record_ids for file in second.files]


def test_generate_other_seed_gives_other_people() -> None:
    assert generate(rows=300, seed=7).files[0].columns != generate(rows=300, seed=8).files[0].columns


def test_generate_three_providers_shares_some_with_all_and_some_with_one() -> None:
    first, second, third = entities(generate(["a", "b", "c"], 400, overlap=0.5, seed=1))

    assert len(first & second & third) == 100
    assert len((first & second) - third) == len((second & third) - first) == len((first & third) - second) == 50


def test_generate_rows_are_in_no_common_order() -> None:
    first, second = generate(rows=500, seed=3).files

    same_place = sum(a == b for a, b in zip(first.entities.tolist(), second.entities.tolist(), strict=True))
    assert same_place < 10
    assert not set(first.record_ids) & set(second.record_ids)


def test_generate_without_errors_gives_identical_copies() -> None:
    first, second = generate(rows=400, seed=5, errors=ErrorRates().scaled(0)).files
    place = {entity: row for row, entity in enumerate(second.entities.tolist())}

    shared = [(row, place[entity]) for row, entity in enumerate(first.entities.tolist()) if entity in place]

    assert len(shared) == 200
    for column in COLUMNS:
        assert [first.columns[column][row] for row, _ in shared] == [second.columns[column][row] for _, row in shared]


def test_generate_default_errors_leaves_copies_different_but_recognisable() -> None:
    first, second = generate(rows=4_000, overlap=1, seed=5).files
    place = {entity: row for row, entity in enumerate(second.entities.tolist())}

    agree = Counter[str]()
    for row, entity in enumerate(first.entities.tolist()):
        agree.update(name for name in COLUMNS if first.columns[name][row] == second.columns[name][place[entity]])

    shares = {name: agree[name] / 4_000 for name in COLUMNS}
    assert 0.82 < shares["given_name"] < 0.92
    assert 0.82 < shares["surname"] < 0.92
    assert 0.92 < shares["date_of_birth"] < 0.98
    assert 0.65 < shares["address"] < 0.85


def test_generate_frequencies_of_names_fall_as_in_a_population() -> None:
    file = generate(rows=20_000, seed=2).files[0]
    surnames = Counter(name for name in file.columns["surname"] if name)

    (name, often), *_ = surnames.most_common(1)
    assert name == "Smith"
    assert 0.008 < often / 20_000 < 0.025
    assert sum(count == 1 for count in surnames.values()) > 1_000  # a long tail of rare names
    assert {"Patel", "Khan", "Nowak", "Okafor", "Wong", "Kaur"} <= set(surnames)


def test_generate_values_have_the_form_of_british_ones() -> None:
    file = generate(rows=2_000, seed=4, errors=ErrorRates().scaled(0)).files[0]
    areas = {(town.name, town.area) for town in TOWNS}

    for postcode, town in zip(file.columns["postcode"], file.columns["town"], strict=True):
        found = re.fullmatch(r"([A-Z]{1,2})[0-9]{1,2} [0-9][A-Z]{2}", postcode)
        assert found
        assert (town, found[1]) in areas
    assert all(re.fullmatch(r"(Flat \d+, )?\d+ [A-Z][a-z]+ [A-Z][a-z]+", line) for line in file.columns["address"])
    born = [date.fromisoformat(day) for day in file.columns["date_of_birth"]]
    assert min(born) > date(1920, 1, 1)
    assert max(born) <= date(2025, 6, 30)
    assert set(file.columns["sex"]) == {"F", "M"}


def test_generate_with_errors_keeps_dates_that_a_form_would_take() -> None:
    file = generate(rows=3_000, seed=4, errors=ErrorRates(digits=0.5, swapped_day_month=0.5)).files[0]

    assert all(date.fromisoformat(day) <= date(2025, 6, 30) for day in file.columns["date_of_birth"] if day)


def test_generate_people_live_in_households() -> None:
    file = generate(rows=5_000, seed=6, errors=ErrorRates().scaled(0)).files[0]
    homes = Counter(zip(file.columns["address"], file.columns["postcode"], strict=True))
    families = Counter(zip(file.columns["address"], file.columns["postcode"], file.columns["surname"], strict=True))

    assert sum(count for count in homes.values() if count > 1) / 5_000 > 0.55
    assert sum(count for count in families.values() if count > 1) / 5_000 > 0.4


def test_generate_children_of_a_family_have_names_of_their_own() -> None:
    file = generate(rows=10_000, seed=6, errors=ErrorRates().scaled(0)).files[0]
    children = Counter(
        (address, postcode, surname, name)
        for address, postcode, surname, name, born in zip(
            *(file.columns[name] for name in ("address", "postcode", "surname", "given_name", "date_of_birth")),
            strict=True,
        )
        if born > "2006"
    )

    assert sum(count > 1 for count in children.values()) <= 5


def test_write_makes_a_file_for_each_provider_and_the_truth(tmp_path: Path) -> None:
    people = generate(["council", "hospital"], 50, seed=1)

    paths = people.write(tmp_path / "demo")

    assert [path.name for path in paths] == ["council.csv", "hospital.csv", "truth.csv"]
    with paths[0].open(encoding="utf-8", newline="") as stream:
        council = list(csv.DictReader(stream))
    assert list(council[0]) == ["record_id", *COLUMNS]
    assert [row["surname"] for row in council] == people.files[0].columns["surname"]
    with paths[2].open(encoding="utf-8", newline="") as stream:
        truth = list(csv.DictReader(stream))
    assert list(truth[0]) == ["provider", "record_id", "entity"]
    assert len(truth) == 100
    assert len({row["entity"] for row in truth}) == 75
    assert {row["record_id"] for row in truth if row["provider"] == "council"} == {row["record_id"] for row in council}


def test_write_existing_file_is_kept_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("mine", encoding="utf-8")
    people = generate(rows=5, seed=1)

    with pytest.raises(FileExistsError, match=r"truth\.csv already"):
        people.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["truth.csv"]

    people.write(tmp_path, overwrite=True)
    assert (tmp_path / "truth.csv").read_text(encoding="utf-8").startswith("provider,")


@pytest.mark.parametrize(
    ("providers", "rows", "overlap", "message"),
    [
        (["one"], 5, 0.5, "between 2 and 10"),
        ([str(number) for number in range(11)], 5, 0.5, "between 2 and 10"),
        (["a", "a"], 5, 0.5, "named twice"),
        (["a", "../b"], 5, 0.5, "file name"),
        (["a", "truth"], 5, 0.5, "file name"),
        (["a", "b"], 0, 0.5, "at least 1"),
        (["a", "b"], 5, 1.5, "between 0 and 1"),
    ],
)
def test_generate_impossible_arguments_are_refused(
    providers: list[str], rows: int, overlap: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(providers, rows, overlap=overlap)
