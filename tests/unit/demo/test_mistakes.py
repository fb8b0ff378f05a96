from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkage_client.demo import mistakes

chances = st.floats(0, 1, exclude_max=True)
words = st.text(st.characters(categories=["L", "Nd"], include_characters=" -'"), min_size=1, max_size=20)
mistakes_in_words = st.sampled_from(
    [
        mistakes.mistype,
        mistakes.misread,
        mistakes.misspell,
        mistakes.nickname,
        mistakes.abbreviate,
        mistakes.miscopy_postcode,
    ]
)


@given(mistake=mistakes_in_words, word=words, where=chances, what=chances, which=chances)
def test_mistake_any_word_leaves_something(
    mistake: mistakes.Mistake, word: str, where: float, what: float, which: float
) -> None:
    assert mistake(word, where, what, which)


@given(
    mistake=st.sampled_from([mistakes.miscopy_date, mistakes.swap_day_month, mistakes.first_of_january]),
    born=st.dates(date(1920, 1, 1), date(2025, 6, 30)),
    where=chances,
    what=chances,
    which=chances,
)
def test_mistake_in_a_date_gives_a_date(
    mistake: mistakes.Mistake, born: date, where: float, what: float, which: float
) -> None:
    assert date.fromisoformat(mistake(born.isoformat(), where, what, which)) <= date(2025, 6, 30)


@given(word=st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=12), where=chances, what=chances, which=chances)
def test_mistype_changes_at_most_two_places(word: str, where: float, what: float, which: float) -> None:
    wrong = mistakes.mistype(word, where, what, which)

    assert abs(len(wrong) - len(word)) <= 1
    if len(wrong) == len(word):
        assert sum(a != b for a, b in zip(word, wrong, strict=True)) <= 2


@pytest.mark.parametrize(
    ("name", "possible"),
    [("Nicholson", {"Nicolson"}), ("Stephen", {"Steven"}), ("Brown", {"Browne"}), ("Humphstone", {"Humfstone"})],
)
def test_misspell_gives_another_spelling_of_the_sound(name: str, possible: set[str]) -> None:
    assert mistakes.misspell(name, 0.0, 0.0, 0.0) in possible


def test_nickname_of_william_is_bill() -> None:
    assert mistakes.nickname("William", 0.0, 0.0, 0.0) == "Bill"
    assert mistakes.nickname("Xanthe", 0.0, 0.0, 0.0) == "Xanthe"


def test_swap_day_month_impossible_month_leaves_the_date() -> None:
    assert mistakes.swap_day_month("1984-03-12", 0, 0, 0) == "1984-12-03"
    assert mistakes.swap_day_month("1984-03-13", 0, 0, 0) == "1984-03-13"


def test_abbreviate_shortens_the_last_word_only() -> None:
    assert mistakes.abbreviate("3 Street Road", 0, 0, 0) == "3 Street Rd"


def test_miscopy_digit_without_digits_changes_nothing() -> None:
    assert mistakes.miscopy_digit("Rose Cottage", 0.5, 0.5, 0.5) == "Rose Cottage"
    assert mistakes.miscopy_digit("10", 0.0, 0.0, 0.0) == "01"


def test_spoil_hits_the_share_asked_for_and_no_empty_value() -> None:
    values = np.array(["M", ""] * 10_000, dtype=object)

    mistakes.spoil(values, mistakes.other_sex, rate=0.1, rng=np.random.default_rng(1))

    assert 850 < (values == "F").sum() < 1_150
    assert (values == "").sum() == 10_000


def test_error_rates_scaled_multiplies_every_rate_and_stops_at_one() -> None:
    doubled = mistakes.ErrorRates().scaled(2)

    assert doubled.typing == pytest.approx(2 * mistakes.ErrorRates().typing)
    assert doubled.missing["town"] == pytest.approx(2 * mistakes.ErrorRates().missing["town"])
    assert mistakes.ErrorRates().scaled(1_000).moved == 1.0
