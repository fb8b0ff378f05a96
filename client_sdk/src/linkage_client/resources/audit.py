"""The ledger, as far as the caller may see it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from linkage_client._protocol import REQUEST_ID_HEADER, event_number, path_of
from linkage_client.errors import ConfigurationError, UnexpectedAnswerError
from linkage_client.files import atomic_output
from linkage_client.models import (
    Alarm,
    Answer,
    Consistency,
    Inclusion,
    LedgerEvent,
    LedgerEventDetail,
    LedgerExport,
    LogWitnesses,
    Replay,
    VerifierKey,
)
from linkage_client.resources._base import Listing, Resource, parsed

# Reading the log is an event in it: few large pages rather than many small ones.
EVENTS_PAGE = 500
ExportForm = Literal["csv", "jsonl", "ocsf", "fhir", "bundle"]
EXPORT_FORMS: tuple[ExportForm, ...] = ("csv", "jsonl", "ocsf", "fhir", "bundle")
AlarmState = Literal["open", "acknowledged", "all"]
_NAMES = {"project_id": "project", "since": "from", "until": "to"}


class EventFilters(TypedDict, total=False):
    """What is looked for in the ledger; what is left out or None is anything. Times have a time zone."""

    organisation: str | None
    """Whose client or person acted."""
    actor: str | None
    action: str | None
    """What was asked for, as the policy names it, such as `retrieveLinkTable`."""
    type: str | None
    """Type of the event, such as `link_table.retrieved`."""
    agreement: str | None
    """Reference of the agreement."""
    version: int | None
    project_id: str | None
    resource_type: str | None
    resource: str | None
    purpose: str | None
    outcome: str | None
    """`success`, `refused` or `failed`."""
    element: int | None
    """The element of the agreement, 1 to 9, that refused."""
    request: str | None
    since: datetime | None
    until: datetime | None


class EventPage(Answer):
    """One page of the ledger."""

    items: list[LedgerEvent]
    next_after: int | None = None
    next_before: int | None = None


class Audit(Resource):
    """Events, exports, alarms, receipts and checkpoints of the tamper-evident log."""

    __slots__ = ()

    def events(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        **filters: Unpack[EventFilters],
    ) -> Iterator[LedgerEvent]:
        """Events that fit every filter, in order. An officer sees all, others what concerns them.

        Reading is itself an event: whoever goes on later from the last one reads what came since, with what it caused.

        Args:
            after: only events with a greater number.
            before: only events with a smaller number.
            newest_first: the newest first; otherwise the oldest.
            limit: at most so many.
            **filters: what is looked for, see `EventFilters`.
        """
        params: dict[str, Any] = named(filters)
        params |= {name: value for name, value in (("after", after), ("before", before)) if value is not None}
        bound, left = ("before" if newest_first else "after"), limit
        if newest_first:
            params["order"] = "newest"
        while left is None or left > 0:
            asked = {**params, "limit": EVENTS_PAGE if left is None else min(EVENTS_PAGE, left)}
            answer = self._transport.send("GET", path_of("audit", "events"), params=asked)
            page = parsed(answer, EventPage)
            yield from page.items[:left]
            left = None if left is None else left - len(page.items)
            following = page.next_before if newest_first else page.next_after
            if following is None:
                return
            last = params.get(bound)
            if last is not None and (following >= last if newest_first else following <= last):
                # Without this a faulty service keeps the caller in the loop for ever.
                raise UnexpectedAnswerError("The ledger's pages turn in circles.", request_id=answer.request_id)
            params[bound] = following

    def event(self, *, seq: int) -> LedgerEventDetail:
        """One event, with its body where the caller may see it and it is still held."""
        return self._get(path_of("audit", "events", seq), LedgerEventDetail)

    def replay(self, *, seq: int) -> Replay:
        """Have the decision of an event made again, from the facts that were judged. For officers; recorded."""
        return self._get(path_of("audit", "events", seq, "replay"), Replay)

    def export(
        self,
        *,
        out: Path,
        form: ExportForm,
        first: int | None = None,
        last: int | None = None,
        against: str | None = None,
        overwrite: bool = False,
        **filters: Unpack[EventFilters],
    ) -> LedgerExport:
        """Write the events that fit to a file, oldest first. The export is recorded; the file appears when it is whole.

        Args:
            out: the file.
            form: "csv", "jsonl" (exact headers), "ocsf", "fhir", or "bundle": a zip that anybody can check offline with
                `linkage-ledger verify`. A bundle is the log without a gap; the filters say which events it shows.
            first: not below this number.
            last: not above this number.
            against: for a bundle, the text of a checkpoint that you kept: it then proves that the log only grew.
            overwrite: whether to replace the file.
            **filters: what is looked for, see `EventFilters`.

        Raises:
            IncompleteDownloadError: the connection broke.
            ConfigurationError: there is no such form.
        """
        if form not in EXPORT_FORMS:
            raise ConfigurationError(f"The ledger is exported as one of {', '.join(EXPORT_FORMS)}.")
        wanted = {"format": form, **named(filters), "first": first, "last": last, "against": against}
        body = {name: value for name, value in wanted.items() if value is not None}
        if against is not None:
            # A note has no CR: an editor or a mail put them there, and the signature is over the line ends too.
            body["against"] = against.replace("\r\n", "\n")
        with atomic_output(out, overwrite=overwrite) as temporary:
            path = path_of("audit", "exports")
            with self._transport.stream_blocks(path, accept="*/*", json_body=body) as (headers, blocks):
                with temporary.open("wb") as file:
                    file.writelines(blocks)
                event, request_id = event_number(headers), headers.get(REQUEST_ID_HEADER)
            size = temporary.stat().st_size
        made = LedgerExport(file=str(out), size_bytes=size)
        return made.came_with(request_id=request_id, ledger_event=event)

    def alarms(self, *, kind: str | None = None, state: AlarmState = "all", limit: int | None = None) -> Listing[Alarm]:
        """Alarms, newest first. An officer of the linkage unit sees all, of a party those that concern it."""
        asked = {"kind": kind, "state": state}
        params = {name: value for name, value in asked.items() if value is not None}
        return self._items(path_of("audit", "alarms"), Alarm, limit=limit, params=params)

    def acknowledge(self, *, alarm_id: str, reason: str, idempotency_key: str | None = None) -> Alarm:
        """Say that an alarm was looked into, and what came of it. The reason stands in the ledger: no personal data."""
        path = path_of("audit", "alarms", f"{alarm_id}:acknowledge")
        return self._post(path, {"reason": reason}, Alarm, idempotency_key=idempotency_key)

    def receipt(self, *, seq: int) -> str:
        """Proof that an event is in the log (C2SP tlog-proof), for `linkage_ledger.receipts`."""
        return self._text("audit", "events", seq, "receipt")

    def checkpoint(self, *, witnessed: bool = False) -> str:
        """The log's latest signed state (C2SP signed note), with the cosignatures of witnesses so far.

        With `witnessed`, the latest that the service's quorum of witnesses cosigned.
        """
        return self._text("audit", "checkpoint", **({"witnessed": "true"} if witnessed else {}))

    def verifier_key(self) -> VerifierKey:
        """The public key that checkpoints are signed with. Compare it once with what the operator published."""
        return self._get(path_of("audit", "verifier-key"), VerifierKey)

    def consistency(self, *, first: int, second: int) -> Consistency:
        """Proof that the log of size `second` continues the log of size `first`."""
        params = {"first": first, "second": second}
        return self._get(path_of("audit", "consistency"), Consistency, params=params)

    def inclusion(self, *, seq: int, size: int) -> Inclusion:
        """Proof that the event `seq` is in the log of `size` leaves: to be checked with its leaf hash."""
        return self._get(path_of("audit", "inclusion"), Inclusion, params={"seq": seq, "size": size})

    def witnesses(self) -> LogWitnesses:
        """Who vouches for the log, and whether they are enough."""
        return self._get(path_of("audit", "witnesses"), LogWitnesses)

    def _text(self, *segments: str | int, **params: str) -> str:
        answer = self._transport.send("GET", path_of(*segments), headers={"Accept": "text/plain"}, params=params)
        return answer.body.decode()


def named(filters: EventFilters) -> dict[str, Any]:
    """Filters as the service names them.

    Raises:
        ConfigurationError: a time has no time zone.
    """
    found: dict[str, Any] = {}
    for name, value in filters.items():
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ConfigurationError("A time without a time zone could be any of many. Give it one.")
            found[_NAMES.get(name, name)] = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        elif value is not None:
            found[_NAMES.get(name, name)] = value
    return found
