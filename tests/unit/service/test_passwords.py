"""What a password may be, and that its hash is Argon2id with the parameters asked for."""

import pytest

from linkage_service.errors import Invalid
from linkage_service.people.passwords import Passwords, check_strength

QUICK = Passwords(memory_kib=8, passes=1, lanes=1)
ABOUT = ("Alexandra Morgan", "alexandra.morgan@northshire.example")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("elevenchars", "too_short"),
        ("x" * 1025, "too_long"),
        ("\u00e9\u00e8\u00ea\u00eb\u00e0" * 103, "too_long"),
        ("Alexandra.Morgan", "about_yourself"),
        ("alexandramorgan", "about_yourself"),
        ("alexandra.morgan@northshire.example", "about_yourself"),
        ("Password1234", "too_common"),
        ("aaaaaaaaaaaaaaaa", "too_common"),
        ("abababababababab", "too_common"),
    ],
)
def test_password_that_is_tried_first_is_refused(password: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_strength(password, about=ABOUT)
    assert [error.code for error in refused.value.errors] == [code]
    assert password not in refused.value.detail


@pytest.mark.parametrize(
    "password",
    [
        "twelve chars",
        "a long phrase of words",
        "\u5bc6\u7801\u662f\u5f88\u957f\u7684\u4e00\u53e5\u8bdd\u5427\u5bf9\u4e0d",
    ],
)
def test_long_password_of_any_characters_is_taken(password: str) -> None:
    check_strength(password, about=ABOUT)


def test_hash_is_argon2id_with_the_parameters_and_a_salt_of_its_own() -> None:
    made = [QUICK.hash("a long phrase of words") for _ in range(2)]
    assert all(one.startswith("$argon2id$v=19$m=8,t=1,p=1$") for one in made)
    assert made[0] != made[1]


def test_password_is_right_in_whatever_form_the_keyboard_sends_it() -> None:
    kept = QUICK.hash("caf\u00e9 at the station")
    assert QUICK.is_right("cafe\u0301 at the station", kept=kept)
    assert not QUICK.is_right("cafe at the station", kept=kept)


@pytest.mark.parametrize("kept", [None, "", "not a hash"])
def test_nobodys_password_is_never_right(kept: str | None) -> None:
    assert not QUICK.is_right("the password of nobody", kept=kept)


def test_hash_of_other_parameters_is_weak() -> None:
    kept = QUICK.hash("a long phrase of words")
    assert not QUICK.is_weak(kept)
    assert Passwords(memory_kib=16, passes=1, lanes=1).is_weak(kept)
