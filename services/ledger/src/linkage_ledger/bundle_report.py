"""What the check of a bundle found, and the plain words for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_TIME = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-([0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?Z", re.ASCII)

Status = Literal["whole", "unclear", "broken"]

MAX_FINDINGS = 100
"""An officer acts on the first; a bundle can hold millions of events."""


@dataclass(frozen=True, slots=True)
class BundleFinding:
    """Something that does not hold. Never quotes what the bundle holds."""

    where: str
    seq: int | None
    what: str


@dataclass(frozen=True, slots=True)
class CosignedBy:
    """A further signature under the checkpoint."""

    name: str
    at: str | None
    """When the witness signed, if its key was given and the signature is genuine; None where nothing was checked."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of an older checkpoint that the bundle was held against."""

    size: int
    continued: bool | None
    """None where the bundle holds nothing to compare it by."""
    last_event_at: str | None
    """Time of the last event that it covers, where the bundle shows that event."""


@dataclass(frozen=True, slots=True)
class Backwards:
    """Places where an event's time lies before that of an earlier one."""

    count: int
    first_seq: int
    most_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleReport:
    """What the check found. ``lines`` says it in words."""

    origin: str
    question: str
    made_at: str
    first: int
    last: int
    size: int
    """How many events the checkpoint speaks of."""
    shown: int
    """Events whose headers are there."""
    hidden: int
    """Events that are there as hashes only."""
    bodies: int
    disposed: int
    withheld: int
    """Events with a body that is said to be not for the reader of the bundle."""
    first_time: str | None
    last_time: str | None
    signed_by: tuple[str, ...]
    """The keys that the checkpoint is genuine by, as lines; none where it is not."""
    given: tuple[str, ...]
    """Those of them that the officer gave; hand-overs lead to the others."""
    own_key_only: bool
    """No key was given, so that the bundle was checked with the one that it brings itself."""
    cosigned_by: tuple[CosignedBy, ...]
    handovers: int
    last_handover: int | None
    """How many events there were at the last of them."""
    not_compared: tuple[int, ...]
    """Sizes of hand-overs whose root the bundle does not reach."""
    against: Kept | None
    """The checkpoint that the officer gave."""
    kept: Kept | None
    """The older checkpoint inside the bundle."""
    documents: int
    """Those that events shown here name."""
    unnamed_documents: int
    missing_documents: tuple[str, ...]
    """What headers refer to and the bundle does not hold, such as ``agreement agr_1, version 2``."""
    backwards: Backwards | None
    other_page: bool
    """The page in the bundle is not the one of this release."""
    findings: tuple[BundleFinding, ...]
    findings_left_out: int

    @property
    def status(self) -> Status:
        """``broken`` if something is wrong, ``unclear`` if nothing is but not all could be checked."""
        if self.findings:
            return "broken"
        if self.own_key_only or not self.shown or (self.against is not None and self.against.continued is None):
            return "unclear"
        return "whole"

    @property
    def lines(self) -> tuple[str, ...]:
        """The answer in plain words, most important first."""
        return (self.headline, *self._finding_lines(), *self._what_holds(), *self._what_is_there(), *self._remarks())

    @property
    def headline(self) -> str:
        """The answer in one line."""
        if self.status == "broken":
            return "Does not hold: this bundle is not what the log's checkpoint vouches for, or was damaged."
        if self.status == "whole":
            return "Whole: everything in this bundle is as it was recorded."
        if self.own_key_only:
            return "Whole by its own word only: nothing is wrong in it, but no key of yours was used."
        if not self.shown:
            return "Unclear: nothing is wrong in it, but it shows no event, only hashes."
        return "Unclear: nothing is wrong in it, but it cannot be compared with the checkpoint that you kept."

    def _finding_lines(self) -> Iterator[str]:
        for finding in self.findings:
            place = finding.where.capitalize() if finding.seq is None else f"Event {finding.seq:,}"
            yield f"{place}: {finding.what}"
        if self.findings_left_out:
            yield f"And {self.findings_left_out:,} findings more."
        if self.findings:
            yield "Keep this bundle and your checkpoints as they are, get it again, and raise it if that fails too."

    def _what_holds(self) -> Iterator[str]:
        events = _events(self.last - self.first + 1)
        if self.findings:
            yield f"It should show {events}, from {self.first:,} to {self.last:,}."
        else:
            yield f"{events}; none missing between {self.first:,} and {self.last:,}."
            yield self._place_line()
        if self.first_time and self.last_time:
            earliest, latest = spoken_time(self.first_time), spoken_time(self.last_time)
            yield f"The first event shown is of {earliest}, the last of {latest}."
        if self.against is not None and not (self.findings and self.against.continued):
            yield self._against_line(self.against)
        for key in self.signed_by:
            yield f"Signed by {key}, {self._whose(key)}"
        for cosigner in self.cosigned_by:
            yield (
                f"Also signed by {cosigner.name}, not checked: give its key to check it."
                if cosigner.at is None
                else f"Cosigned by the witness {cosigner.name} on {spoken_time(cosigner.at)}."
            )

    def _place_line(self) -> str:
        before, after = self.first, self.size - self.last - 1
        if not before and not after:
            return "These are all the events that the checkpoint speaks of."
        return (
            f"The checkpoint is of {_events(self.size)}: {before:,} before these and {after:,} after them are not in "
            "the bundle."
        )

    def _whose(self, key: str) -> str:
        if self.own_key_only:
            return (
                "a key that came with the bundle. Whoever made the bundle could have made this key: get the log's key "
                "some other way, and check again with it."
            )
        if key in self.given or self.last_handover is None:
            return "a key that you gave."
        return f"tied to a key that you gave by hand-overs of the log's key, the last at {_events(self.last_handover)}."

    def _against_line(self, kept: Kept) -> str:
        of_when = "" if kept.last_event_at is None else f" (its last event is of {spoken_time(kept.last_event_at)})"
        which = f"the checkpoint you kept, of {_events(kept.size)}{of_when}"
        if kept.continued is None:
            return (
                f"It could not be compared with {which}. Ask for a bundle that was made against this checkpoint (the "
                f"export takes it), or that begins at or before event {kept.size:,}."
            )
        return f"Nothing changed since {which}." if kept.continued else f"It does not continue {which}."

    def _what_is_there(self) -> Iterator[str]:
        if self.hidden:
            yield (
                f"Shown as hashes only: {self.hidden:,}. They are there, unread; that they belong to others is the "
                "word of whoever made the bundle."
            )
        if self.bodies:
            yield f"Events with their details: {self.bodies:,}."
        if self.disposed:
            yield (
                f"Events whose details were disposed of: {self.disposed:,}. That is the operator's word: compare it "
                "with the events of disposal."
            )
        if self.withheld:
            yield (
                f"Events whose details are withheld: {self.withheld:,}. That they are not for the reader of this "
                "bundle is the word of whoever made it."
            )
        if self.handovers:
            yield f"Hand-overs of the log's key, each signed by both keys: {self.handovers:,}."
        if self.not_compared and not self.findings:
            yield (
                f"Not compared with what both keys signed at {_events(self.not_compared[-1])}: the bundle does not "
                f"reach there. Ask for one with event {self.not_compared[-1] - 1:,} in it."
            )
        if self.kept is not None and self.against is None and self.kept.continued:
            yield (
                f"It continues the older checkpoint that it carries, of {_events(self.kept.size)}. Only one that you "
                "kept yourself proves anything: check against that."
            )
        if self.documents:
            yield f"Documents that its events name (agreements, policy texts), each as they say: {self.documents:,}."
        if self.unnamed_documents:
            yield f"Documents that no event shown here names: {self.unnamed_documents:,}. Nobody vouches for them."
        yield f'What was asked for: "{self.question}". Made on {spoken_time(self.made_at)}. Nobody signed these words.'

    def _remarks(self) -> Iterator[str]:
        for document in self.missing_documents:
            yield f"Not in the bundle: {document}. Ask for it."
        if self.backwards is not None:
            yield (
                f"Times run backwards at {_events(self.backwards.count)}, first at {self.backwards.first_seq:,}, by "
                f"{self.backwards.most_seconds:,.3f} seconds at most. A second or so is requests that overlapped; more "
                "is a clock that was set back."
            )
        if self.other_page:
            yield "The verify.html in it is not the one of this release. Use your own: linkage-ledger verify-page."


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"


def spoken_time(text: str) -> str:
    """A moment as people say it, such as ``3 March 2026, 09:00:00 UTC``; anything else as it is."""
    fields = _TIME.fullmatch(text)
    if fields is None:
        return text
    year, month, day, clock = fields.groups()
    return f"{int(day)} {_MONTHS[int(month) - 1]} {year}, {clock} UTC"
