"""What tests look at in a page that a real browser shows: barriers, width, and pictures to keep."""

import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

from playwright.sync_api import Page, expect

from support.pictures import smaller_png

_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Of the guide for officers: what fits into one look, and into a small file.
GUIDE_SIZE: Final = {"width": 960, "height": 640}
GUIDE_PICTURES: Final = (
    "overview", "agreement", "suspend-agreement", "organisation", "invite-person", "activity", "event", "replay",
    "charts", "export", "integrity", "compared",
)  # fmt: skip
_EMAIL = re.compile(r"[^\s@()]+@[^\s@()]+")
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")


class SignsIn(Protocol):
    """Somebody who has enrolled."""

    email: str
    password: str

    def next_code(self) -> str: ...


def sign_in(page: Page, person: SignsIn) -> None:
    """Signs in with both factors."""
    page.goto("/console/sign-in")
    page.get_by_label("E-mail address").fill(person.email)
    page.get_by_label("Password", exact=True).fill(person.password)
    page.get_by_label("Code").fill(person.next_code())
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What needs you")


def picture(page: Page, name: str) -> None:
    """Keeps a picture of the whole page, where pictures are wanted."""
    if folder := os.environ.get("TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def guide_picture(page: Page, name: str) -> bytes:
    """A picture of the size that the guide shows, from where the page was scrolled to; kept where they are wanted."""
    assert name in GUIDE_PICTURES
    assert personal(page.locator("body").inner_text()) == []
    page.set_viewport_size(GUIDE_SIZE)  # type: ignore[arg-type]  # a dict of these two
    made = page.screenshot(animations="disabled", caret="hide")
    if folder := os.environ.get("TEST_SCREENSHOTS"):
        (Path(folder) / "guide").mkdir(parents=True, exist_ok=True)
        (Path(folder) / "guide" / f"{name}.png").write_bytes(smaller_png(made))
    return made


def personal(text: str) -> list[str]:
    """What a text says of people or machines that are not the tests' own."""
    emails = [found for found in _EMAIL.findall(text) if not found.rstrip(".,").endswith(".test")]
    return emails + [found for found in _ADDRESS.findall(text) if not found.startswith("127.")]


def barriers(page: Page) -> list[str]:
    """What axe finds, with the places."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found: dict[str, Any] = page.evaluate("tags => axe.run({runOnly: tags})", _AXE_TAGS)
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes']]}" for rule in found["violations"]]


def too_wide(page: Page) -> list[str]:
    """What makes the page wider than the window."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
          [...document.querySelectorAll('main *')].filter(
            element => element.getBoundingClientRect().right > document.documentElement.clientWidth
          ).map(element => element.outerHTML.slice(0, 100))"""
    )
    return found
