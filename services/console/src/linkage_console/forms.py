"""What a form of the console may do: only what comes from its own pages, and only to places of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import UploadFile
from starlette.requests import Request

_LONGEST_PATH = 2000


class ForeignForm(Exception):
    """The form was sent by a page of another site."""


def check_origin(request: Request, address: str) -> None:
    """Refuses a form that another site's page made the browser send.

    The API judges by the same headers, for what it is asked; this is for the console's own pages.

    Raises:
        ForeignForm: it does not come from a page of this service.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    parts = urlsplit(address)
    ours = f"{parts.scheme}://{parts.netloc}"
    good = site == "same-origin" and origin in {None, "null", ours} if site is not None else origin == ours
    if not good:
        raise ForeignForm


def own_path(text: str | None, *, at: str) -> str:
    """The path below the console that a link or form names to go on to; the first page for anything else.

    What a browser could take for another host (`//host`, a backslash, control characters) is not one.
    """
    start = f"{at}/"
    if not text or len(text) > _LONGEST_PATH or not text.startswith(start):
        return start
    if "\\" in text or "//" in text.partition("?")[0] or not text.isascii() or not text.isprintable():
        return start
    return text


@dataclass(frozen=True, slots=True)
class Form:
    """Fields and files of a form; a field that is missing is empty."""

    fields: dict[str, str]
    files: dict[str, bytes]

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "").strip()

    def exact(self, name: str) -> str:
        """A field with the spaces around it, which belong to a password."""
        return self.fields.get(name, "")


async def read_form(request: Request, address: Callable[[], str]) -> Form:
    """The form of a request from a page of the console.

    Raises:
        ForeignForm: it comes from elsewhere.
    """
    check_origin(request, address())
    async with request.form(max_files=2, max_fields=50) as form:
        files = {name: await value.read() for name, value in form.items() if isinstance(value, UploadFile)}
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return Form(fields, files)
