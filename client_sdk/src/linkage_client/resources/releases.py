"""Releases: the decision that link tables may go to a recipient, and the retrieval of one's own table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from linkage_client._protocol import REQUEST_ID_HEADER, path_of
from linkage_client.errors import ConfigurationError, IncompleteDownloadError, UnexpectedAnswerError
from linkage_client.files import atomic_output
from linkage_client.models import Me, Release, Run, Upload
from linkage_client.resources._base import Listing, Resource


class Link(NamedTuple):
    """One line of a link table: a row of the caller's own upload and its pseudonym in the recipient's domain."""

    row: int
    link_id: str


class DetailedLink(NamedTuple):
    """One line of a matched link table that tells more, as the agreement lets it; None where it is not told."""

    row: int
    link_id: str
    match_probability: float | None = None
    """That the weakest pair of the row's group is one person, 0..1."""
    group_size: int | None = None
    """Rows in the row's group, at least."""


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

    def create(
        self,
        *,
        run_id: str,
        purpose: str,
        mode: str,
        columns: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> Release:
        """Ask for the release of a run's link tables to the caller's organisation. Role: recipient.

        `mode` is "blind" (every row gets a link id) or "matched" (only matched rows do, if the agreement says so).
        `columns` of matched tables, if the agreement lists them: "match_probability", "group_size".
        """
        body: dict[str, Any] = {"purpose": purpose, "mode": mode}
        if columns:
            body["columns"] = list(columns)
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
        for link in self.detailed_link_table(release_id=release_id):
            yield Link(row=link.row, link_id=link.link_id)

    def detailed_link_table(self, *, release_id: str) -> Iterator[DetailedLink]:
        """As `link_table`, with the further columns that the release has."""
        expected = self._expected_rows(release_id)
        path = path_of("releases", release_id, "link-table")
        with self._transport.stream_lines(path, accept="application/jsonl") as (headers, lines):
            request_id = headers.get(REQUEST_ID_HEADER)
            links = (_parse_link(line, request_id=request_id) for line in lines)
            yield from checked_links(links, expected=_with_announced(expected, headers), request_id=request_id)

    def save_link_table(self, *, release_id: str, out: Path, form: str, overwrite: bool = False) -> int:
        """Fetch the table as the service writes it, in the `form` "parquet" or "arrow"; returns the number of rows.

        It has row numbers, and says in its metadata which release it belongs to. A retrieval as `link_table`. The file
        appears only when it is whole.

        Raises:
            IncompleteDownloadError: the table is not whole.
            ConfigurationError: there is no such form.
        """
        from linkage_client.link_files import MEDIA_TYPES, links_of  # noqa: PLC0415 - pyarrow is slow to import

        if form not in MEDIA_TYPES:
            raise ConfigurationError(f"A link table is saved as one of {', '.join(MEDIA_TYPES)}.")
        expected = self._expected_rows(release_id)
        path = path_of("releases", release_id, "link-table")
        with atomic_output(out, overwrite=overwrite) as temporary:
            with self._transport.stream_blocks(path, accept=MEDIA_TYPES[form]) as (headers, blocks):
                request_id = headers.get(REQUEST_ID_HEADER)
                with temporary.open("wb") as file:
                    file.writelines(blocks)
            links = links_of(temporary, form=form, request_id=request_id)
            whole = checked_links(links, expected=_with_announced(expected, headers), request_id=request_id)
            return sum(1 for _ in whole)

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


def _with_announced(expected: ExpectedRows, headers: Mapping[str, str]) -> ExpectedRows:
    return replace(
        expected,
        announced=_number(headers.get("linkage-rows")),
        withdrawn=_number(headers.get("linkage-withdrawn-rows")) or 0,
    )


def checked_links(
    links: Iterable[DetailedLink], *, expected: ExpectedRows, request_id: str | None = None
) -> Iterator[DetailedLink]:
    """The lines of a link table, checked to be whole; `request_id` is that of the retrieval.

    Raises:
        IncompleteDownloadError: rows are absent, repeated, out of order or too many.
    """
    next_row = found = left_out = 0
    for link in links:
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


def _parse_link(line: bytes, *, request_id: str | None) -> DetailedLink:
    try:
        content = json.loads(line)
        row, link_id = content["row"], content["link_id"]
        probability, size = content.get("match_probability"), content.get("group_size")
    except (AttributeError, ValueError, KeyError, TypeError, RecursionError):
        row, link_id, probability, size = None, None, None, None
    told = isinstance(probability, float | int | None) and (size is None or type(size) is int)
    if type(row) is not int or not isinstance(link_id, str) or not link_id or not told:
        raise UnexpectedAnswerError(
            "A line of the answer is not one of a link table. Ask for the table again.", request_id=request_id
        )
    return DetailedLink(row=row, link_id=link_id, match_probability=probability, group_size=size)


def _incomplete(row: int, *, request_id: str | None) -> IncompleteDownloadError:
    return IncompleteDownloadError(
        f"The link table is not whole: it breaks at row {row}. Nothing of it may be used; ask for it again, "
        "and tell the linkage unit if it happens twice.",
        request_id=request_id,
    )
