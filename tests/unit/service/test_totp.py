"""RFC 6238 and RFC 4226 by their own vectors, and what makes a code good for one use."""

from datetime import UTC, datetime, timedelta

import pytest

from linkage_service.people import totp

SECRET = b"12345678901234567890"
NOW = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)
STEP = int(NOW.timestamp()) // 30


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_code_of_a_time_is_the_one_of_rfc_6238(seconds: int, code: str) -> None:
    assert totp.code_at(SECRET, seconds // 30, digits=8) == code


@pytest.mark.parametrize(("count", "code"), list(enumerate(["755224", "287082", "359152", "969429", "338314"])))
def test_code_of_a_count_is_the_one_of_rfc_4226(count: int, code: str) -> None:
    assert totp.code_at(SECRET, count) == code


@pytest.mark.parametrize("aside", [-1, 0, 1])
def test_code_of_a_step_beside_now_is_taken(aside: int) -> None:
    code = totp.code_at(SECRET, STEP + aside)
    assert totp.matching_step(SECRET, code, now=NOW, after=None) == STEP + aside


@pytest.mark.parametrize("aside", [-2, 2])
def test_code_of_a_step_further_away_is_not_taken(aside: int) -> None:
    assert totp.matching_step(SECRET, totp.code_at(SECRET, STEP + aside), now=NOW, after=None) is None


def test_code_that_was_used_is_not_taken_again_nor_an_older_one() -> None:
    code = totp.code_at(SECRET, STEP)
    assert totp.matching_step(SECRET, code, now=NOW, after=STEP) is None
    assert totp.matching_step(SECRET, totp.code_at(SECRET, STEP - 1), now=NOW, after=STEP) is None
    later = NOW + timedelta(seconds=30)
    assert totp.matching_step(SECRET, totp.code_at(SECRET, STEP + 1), now=later, after=STEP) == STEP + 1


@pytest.mark.parametrize("code", ["", "12345", "abcdef", "\u0661\u0662\u0663\u0664\u0665\u0666"])
def test_what_is_no_code_is_not_taken(code: str) -> None:
    assert totp.matching_step(SECRET, code, now=NOW, after=None) is None


def test_provisioning_address_has_what_an_app_reads() -> None:
    uri = totp.provisioning_uri(SECRET, account="alex@body.test", issuer="linkage.test")
    assert uri == (
        "otpauth://totp/linkage.test:alex%40body.test?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        "&issuer=linkage.test&algorithm=SHA1&digits=6&period=30"
    )
