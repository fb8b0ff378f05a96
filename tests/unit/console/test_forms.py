import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from linkage_console.forms import ForeignForm, check_origin, own_path

OURS = "https://linkage.test"


@pytest.mark.parametrize(
    "path", ["/console/", "/console/activity?outcome=refused&from=2026-03-01", "/console/a?next=//x"]
)
def test_own_path_is_kept(path: str) -> None:
    assert own_path(path, at="/console") == path


@given(st.text())
def test_own_path_of_anything_stays_below_the_console(text: str) -> None:
    for given_text in (text, f"/console/{text}", f"/{text}", f"//{text}"):
        found = own_path(given_text, at="/console")
        assert found.startswith("/console/")
        assert "\\" not in found
        assert "//" not in found.partition("?")[0]
        assert found.isprintable()


def test_own_path_of_nothing_is_the_first_page() -> None:
    assert own_path(None, at="/console") == own_path("", at="/console") == "/console/"


def _request(**headers: str) -> Request:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": sent})


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin", "origin": OURS},
        {"sec_fetch_site": "same-origin", "origin": "null"},
        {"sec_fetch_site": "same-origin"},
        {"origin": OURS},
    ],
)
def test_form_of_an_own_page_is_taken(headers: dict[str, str]) -> None:
    check_origin(_request(**headers), f"{OURS}/")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site", "origin": OURS},
        {"sec_fetch_site": "same-site", "origin": OURS},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": "https://evil.test"},
        {"origin": "https://linkage.test.evil.test"},
        {"origin": "http://linkage.test"},
        {"origin": "null"},
        {},
    ],
)
def test_form_of_another_page_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ForeignForm):
        check_origin(_request(**headers), OURS)
