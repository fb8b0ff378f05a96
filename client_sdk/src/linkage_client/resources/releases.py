"""Releases: the decision that link tables may go to a recipient, and the retrieval of one's own table."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from linkage_client._protocol import REQUEST_ID_HEADER, path_of
from linkage_client.errors import IncompleteDownloadError, UnexpectedAnswerError
from linkage_client.models import Me, Release, Run, Upload
from linkage_client.resources._base import Listing, Resource


class Link(NamedTuple):
    """One line of a link table: a row of the caller's own upload and its pseudonym in the recipient's domain."""

    row: int
    link_id: str


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """What a complete link table looks like."""

    count: int | None
    """Rows of the caller's upload in the run; None if the run does not list it."""
    every_row: bool
    """Blind tables have a line for each row, matched ones only for matched rows."""
    announced: int | None = None
    """Number of lines that the service says will follow."""
    withdrawn: int = 0
    """Rows of the upload that it says were withdrawn: blind tables leave them out."""


class Releases(Resource):
    """Decisions about link tables, and the tables."""

    __slots__ = ()

    def create(self, *, run_id: str, purpose: str, mode: str, idempotency_key: str | None = None) -> Release:
        """Ask for the release of a run's link tables to the caller's organisation. Role: recipient.

        `mode` is "blind" (every row gets a link id) or "matched" (only matched rows do, if the agreement says so).
        """
        body = {"purpose": purpose, "mode": mode}
        return self._post(path_of("runs", run_id, "releases"), body, Release, idempotency_key=idempotency_key)

    def get(self, *, release_id: str) -> Release:
        """One release."""
        return self._get(path_of("releases", release_id), Release)

    def list(self, *, project_id: str, limit: int | None = None) -> Listing[Release]:
        """The releases of a project."""
        return self._items(path_of("projects", project_id, "releases"), Release, limit=limit)

    def link_table(self, *, release_id: str) -> Iterator[Link]:
        """The link ids of the caller's own rows, in row order, as they arrive.

        Each retrieval is a disclosure: recorded, and counted against the agreement's maximum. The table is known to be
        complete only when the iterator has ended without an error; do not use a part of it.

        Raises:
            IncompleteDownloadError: the table stopped early, or rows are absent, repeated or out of order.
        """
        expected = self._expected_rows(release_id)
        path = path_of("releases", release_id, "link-table")
        with self._transport.stream_lines(path, accept="application/jsonl") as (headers, lines):
            expected = replace(
                expected,
                announced=_number(headers.get("linkage-rows")),
                withdrawn=_number(headers.get("linkage-withdrawn-rows")) or 0,
            )
            yield from checked_links(lines, expected=expected, request_id=headers.get(REQUEST_ID_HEADER))

    def own_upload(self, *, release_id: str) -> Upload:
        """The caller's own upload whose rows a release's link table is about. Costs no retrieval.

        Its `manifest.sha256` says which encodings the row numbers belong to; `joining.write_links` compares it with the
        rows file. The manifest stays readable when the encodings are deleted or replaced.

        Raises:
            UnexpectedAnswerError: the release's run does not list exactly one upload of the caller.
        """
        run = self._get(path_of("runs", self.get(release_id=release_id).run), Run)
        own = self._get(path_of("me"), Me).organisation.id
        uploads = [upload.id for upload in run.uploads if upload.organisation == own]
        if len(uploads) != 1:
            raise UnexpectedAnswerError(
                f"The run of this release lists {len(uploads)} uploads of your organisation, not one, so it is not "
                "known which encodings its rows belong to. Nothing was fetched. Fetch results as a provider."
            )
        return self._get(path_of("uploads", uploads[0]), Upload)

    def _expected_rows(self, release_id: str) -> ExpectedRows:
        release = self.get(release_id=release_id)
        run = self._get(path_of("runs", release.run), Run)
        own = self._get(path_of("me"), Me).organisation.id
        counts = [upload.count for upload in run.uploads if upload.organisation == own]
        return ExpectedRows(count=counts[0] if len(counts) == 1 else None, every_row=release.mode == "blind")


def checked_links(lines: Iterator[bytes], *, expected: ExpectedRows, request_id: str | None = None) -> Iterator[Link]:
    """Parse the lines of a link table and check that it is whole; `request_id` is that of the retrieval.

    Raises:
        IncompleteDownloadError: rows are absent, repeated, out of order or too many.
        UnexpectedAnswerError: a line is not one of a link table.
    """
    next_row = found = left_out = 0
    for line in lines:
        link = _parse_link(line, request_id=request_id)
        left_out += link.row - next_row
        if link.row < next_row or (expected.every_row and left_out > expected.withdrawn):
            raise _incomplete(next_row, request_id=request_id)
        if expected.count is not None and link.row >= expected.count:
            raise _incomplete(expected.count, request_id=request_id)
        next_row = link.row + 1
        found += 1
        yield link
    if expected.announced is not None and found != expected.announced:
        raise _incomplete(next_row, request_id=request_id)
    if expected.every_row and expected.count is not None and found + expected.withdrawn != expected.count:
        raise _incomplete(next_row, request_id=request_id)


def _number(header: str | None) -> int | None:
    return int(header) if header is not None and header.isascii() and header.isdigit() else None


def _parse_link(line: bytes, *, request_id: str | None) -> Link:
    try:
        content = json.loads(line)
        row, link_id = content["row"], content["link_id"]
    except (ValueError, KeyError, TypeError):
        row, link_id = None, None
    if type(row) is not int or not isinstance(link_id, str) or not link_id:
        raise UnexpectedAnswerError(
            "A line of the answer is not one of a link table. Ask for the table again.", request_id=request_id
        )
    return Link(row=row, link_id=link_id)


def _incomplete(row: int, *, request_id: str | None) -> IncompleteDownloadError:
    return IncompleteDownloadError(
        f"The link table is not whole: it breaks at row {row}. Nothing of it may be used; ask for it again, "
        "and tell the linkage unit if it happens twice.",
        request_id=request_id,
    )
