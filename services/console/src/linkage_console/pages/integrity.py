"""Whether the access log can be trusted: its signed state, who vouches for it, and what somebody kept of it."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from linkage_client.errors import DataError
from linkage_client.proving import LogKeys, LogState, continues, receipt_number
from linkage_console.routing import Page
from linkage_console.visits import Visit


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, in words."""

    good: bool
    title: str
    words: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the service shows of its log, its checkpoint verified; or why it cannot be."""

    keys: LogKeys | None
    now: LogState | None
    note: str
    key: str
    wrong: str


async def show(visit: Visit, *, finding: Finding | None = None) -> Response:
    """The log's state, and the forms that hold it to what was kept."""
    shown = await _shown(visit)
    witnesses = (await visit.call.get("/v1/audit/witnesses")).document
    return visit.page(
        "integrity.html", shown=shown, now=shown.now, witnesses=witnesses, finding=finding, grown=visit.query("grown")
    )


async def checkpoint(visit: Visit) -> Response:
    """The checkpoint as a file, to keep."""
    note = (await visit.call.get("/v1/audit/checkpoint")).content
    headers = {"Content-Disposition": 'attachment; filename="checkpoint.txt"'}
    return visit.answer(Response(note, media_type="text/plain; charset=utf-8", headers=headers))


async def compare(visit: Visit) -> Response:
    """Holds the log to a checkpoint or receipt that somebody kept, given as a file or as text."""
    text = visit.form.exact("text")
    try:
        file = visit.form.files.get("kept", b"")
        text = file.decode("utf-8") if file else text.replace("\r\n", "\n")
        # A text that was pasted lacks the line break at its end, over which the signature is too.
        finding = await _judge(visit, text if not text or text.endswith("\n") else f"{text}\n")
    except (DataError, UnicodeDecodeError) as error:
        words = str(error) if isinstance(error, DataError) else "The file is no text in UTF-8, as checkpoints are."
        finding = Finding(good=False, title="Nothing could be compared", words=words)
    return await show(visit, finding=finding)


async def _judge(visit: Visit, text: str) -> Finding:
    if not text.strip():
        raise DataError("Choose the file that you kept, or paste its text.")
    shown = await _shown(visit)
    if shown.keys is None or shown.now is None:
        raise DataError(shown.wrong)
    if text.startswith("c2sp.org/tlog-proof"):
        return await _judge_receipt(visit, text, shown.keys, shown.now)
    return await _judge_growth(visit, shown.keys.kept(text), shown.now, "checkpoint")


async def _judge_receipt(visit: Visit, text: str, keys: LogKeys, now: LogState) -> Finding:
    number = receipt_number(text)
    event = (await visit.call.get(f"/v1/audit/events/{number}")).document
    state = keys.receipt(text, event["header"])
    grown = await _judge_growth(visit, state, now, "receipt")
    if not grown.good:
        return grown
    words = f"Event {number:,}, {event['header']['type']}, is in the log exactly as the receipt says. {grown.words}"
    return Finding(good=True, title="The receipt holds", words=words)


async def _judge_growth(visit: Visit, old: LogState, now: LogState, what: str) -> Finding:
    if old.size > now.size:
        return _alarm(
            f"Your {what} is of a log of {old.size:,} events, and the log now has {now.size:,}: events are gone."
        )
    proof: list[Any] = []
    if 0 < old.size < now.size:
        proof = (await visit.call.get("/v1/audit/consistency", first=old.size, second=now.size)).document["proof"]
    if not continues(old, now, proof):
        return _alarm(f"The log of now does not continue the {old.size:,} events of your {what}: it was changed.")
    words = (
        f"All {old.size:,} events of your {what} are still in the log, unchanged and in the same order. "
        f"{now.size - old.size:,} came after them."
    )
    return Finding(good=True, title="The log only grew", words=words)


def _alarm(words: str) -> Finding:
    return Finding(
        good=False,
        title="Alarm: the log is not what it was",
        words=f"{words} Keep your file and the present checkpoint, and follow the guide for officers.",
    )


async def _shown(visit: Visit) -> _Shown:
    # The key first: one that is handed over between the two answers still leads to what signed the checkpoint.
    told = (await visit.call.get("/v1/audit/verifier-key")).document
    note = (await visit.call.get("/v1/audit/checkpoint")).content.decode()
    try:
        keys = LogKeys(told["key"], told["handovers"])
        return _Shown(keys=keys, now=keys.present(note), note=note, key=told["key"], wrong="")
    except DataError as error:
        return _Shown(keys=None, now=None, note=note, key=told["key"], wrong=str(error))


PAGES: Final = (
    Page("GET", "/integrity", show),
    Page("GET", "/integrity/checkpoint", checkpoint),
    Page("POST", "/integrity", compare),
)
