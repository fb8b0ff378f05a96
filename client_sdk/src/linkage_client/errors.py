"""Every error the client raises on purpose, in one tree, so that callers can catch as widely or narrowly as they need.

    LinkageClientError
    ├── DataError                     an input file, or values in it, cannot be used
    │   ├── FileFormatError           the file cannot be read as what it should be
    │   │   └── CsvTextError          a place in a CSV file can be read in more than one way
    │   ├── ColumnError               a column is absent or named twice
    │   ├── AmbiguousDatesError       nothing says whether day or month comes first
    │   ├── ValueFormatError          values do not have the format that the linkage schema asks for
    │   └── TooFewRecordsError        a sample is too small to measure anything on
    ├── SchemaError                   the linkage schema is not valid, or not safe to use
    ├── SecretError                   the linkage secret cannot be used
    ├── PackageError                  a directory of encodings is damaged or inconsistent
    ├── OutputExistsError             the output exists and would be overwritten
    ├── OutputError                   the output cannot be written: the disk is full, say
    ├── WorkerError                   a worker process stopped before it had finished
    ├── ConfigurationError            the profile file, an address or an option cannot be used
    │   └── KeystoreError             the keystore of the operating system is absent, locked, or lacks an entry
    ├── KeyFileError                  a key file is absent, readable by others, or not a key
    ├── KeyExchangeError              a key card, an envelope or a sealed file is not what it should be; `code` says why
    ├── JoinError                     an extract, a rows file and a link table do not belong together
    ├── AgreementMismatchError        a document is not the one whose digest was stated, or not signed as it should be
    ├── AgreementInvalidError         a document cannot be an agreement
    ├── LedgerAlarmError              a service's ledger is not the one it was: forked, cut short, or under another key
    ├── UploadBusyError               another process is sending encodings to the same project
    ├── StoppedError                  the caller asked to stop
    ├── RunEndedError                 a run failed or was cancelled
    ├── StillWaitingError             what is waited for took longer than the caller wanted to wait
    │   └── RunStillGoingError        a run did
    ├── LocalServiceError             the service that the demo or a test started here did not start, or ended
    ├── ServiceConnectionError        the service could not be reached, or went silent
    │   └── IncompleteDownloadError   an answer stopped, or skipped rows, before its end
    ├── UnexpectedAnswerError         something answered that is not this API
    └── ServiceError                  the service refused, with a problem (RFC 9457) and a request id
        ├── InvalidRequestError       400, 405, 406, 413, 415, 422: the request itself is at fault
        ├── NotAuthenticatedError     401: the client is not known, revoked or its clock is wrong
        ├── PolicyRefusalError        403: an agreement does not allow it; `elements` says which part
        ├── NotFoundError             404: absent, or not yours
        ├── StateConflictError        409, 410, 412, 428: not possible in the present state
        └── TryAgainLaterError        429 and 5xx: overloaded, under maintenance or broken

Every error has `code`, `message` and `request_id`; the last is None where no answer of the service was involved, and is
what support needs where it is not. Messages say what happened, what it means and what to do next. They name rows and
columns, never values or secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class LinkageClientError(Exception):
    """Root of the tree. `code` is stable and meant for programs, the message for people.

    `request_id` is the id under which the service logged the request whose answer led to this error.
    """

    code = "client_error"

    def __init__(self, message: str, *, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} (request id {self.request_id})" if self.request_id else self.message


class DataError(LinkageClientError):
    """An input file, or values in it, cannot be used."""

    code = "data_error"


class FileFormatError(DataError):
    """A file cannot be read as what it should be: wrong encoding, no header, rows of different lengths."""

    code = "file_format"


class CsvTextError(FileFormatError):
    """A place in a CSV file can be read in more than one way, or not at all."""

    def __init__(self, message: str, *, line: int) -> None:
        super().__init__(message)
        self.line = line
        """From 1, as a text editor counts."""


class ColumnError(DataError):
    """A column that is needed is absent, or two columns have one name."""

    code = "column_error"


@dataclass(frozen=True, slots=True)
class ValueFinding:
    """Where one value does not have the format that the linkage schema asks for; the value itself is left out."""

    row: int
    """First row with the value, counted from 1 without the header line."""
    column: str
    reason: str


class ValueFormatError(DataError):
    """Values do not have the format that the linkage schema asks for."""

    code = "value_format"

    def __init__(self, message: str, *, findings: tuple[ValueFinding, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


class TooFewRecordsError(DataError):
    """There are too few records to measure what was asked for."""

    code = "too_few_records"


@dataclass(frozen=True, slots=True)
class AmbiguousDates:
    """How many rows of a column say what about the order of day and month."""

    column: str
    day_first: int
    """Rows that are a date only if the day comes first."""
    month_first: int
    either: int
    """Rows that are two different dates."""


class AmbiguousDatesError(DataError):
    """Nothing in a column says whether day or month comes first, or it says both."""

    code = "ambiguous_dates"

    def __init__(self, message: str, *, columns: tuple[AmbiguousDates, ...] = ()) -> None:
        super().__init__(message)
        self.columns = columns


class SchemaError(LinkageClientError):
    """The linkage schema is not valid, or not safe to use. `pointer` is the JSON pointer (RFC 6901) of the place."""

    code = "schema_invalid"

    def __init__(self, message: str, *, pointer: str = "") -> None:
        super().__init__(f"{pointer}: {message}" if pointer else message)
        self.pointer = pointer


class SecretError(LinkageClientError):
    """The linkage secret cannot be used."""

    code = "secret_unusable"


class PackageError(LinkageClientError):
    """A directory of encodings is damaged, incomplete or inconsistent."""

    code = "package_invalid"


class OutputExistsError(LinkageClientError):
    """The output exists and would be overwritten."""

    code = "output_exists"


class OutputError(LinkageClientError):
    """The output cannot be written; what was there before is as it was."""

    code = "output_failed"


class WorkerError(LinkageClientError):
    """A worker process stopped before it had finished; nothing has been written."""

    code = "worker_failed"


class ConfigurationError(LinkageClientError):
    """The profile file, an address or an option cannot be used."""

    code = "configuration"


class KeystoreError(ConfigurationError):
    """The keystore of the operating system is absent, locked, or lacks an entry that it should hold."""

    code = "keystore"


class KeyFileError(LinkageClientError):
    """A key file is absent, readable by others, or does not hold the key it should."""

    code = "key_file"


class KeyExchangeError(LinkageClientError):
    """A key card, a keyset, an envelope or a sealed file is not what it should be; nothing of it has been used."""

    code = "key_exchange"


class JoinError(LinkageClientError):
    """An extract, a rows file and a link table do not belong together; nothing has been written."""

    code = "join_refused"


class AgreementMismatchError(LinkageClientError):
    """A document is not the one whose digest was stated, or not signed by all; nothing has been done with it."""

    code = "agreement_mismatch"


class AgreementInvalidError(LinkageClientError):
    """A document cannot be an agreement; the message names every place and what is wrong there."""

    code = "agreement_invalid"


class LedgerAlarmError(LinkageClientError):
    """A service's ledger is not the one that it was; nothing was asked of the service.

    `code` says how: `ledger_forked`, `ledger_rolled_back`, `ledger_stale`, `ledger_broken_promise`,
    `ledger_key_changed` or `ledger_other_log`.
    """

    code = "ledger_alarm"

    def __init__(self, message: str, *, code: str, folder: Path) -> None:
        super().__init__(message, code=code)
        self.folder = folder
        """Where what was known and what was shown lie, for the officer."""


class UploadBusyError(LinkageClientError):
    """Another process of this machine is sending encodings to the same project; this one has sent nothing."""

    code = "upload_busy"


class StoppedError(LinkageClientError):
    """The caller asked to stop. What was done until then stays, and the same call goes on with it."""

    code = "stopped"


class RunEndedError(LinkageClientError):
    """A run failed or was cancelled. `problem` is what the service recorded about the failure."""

    code = "run_ended"

    def __init__(
        self,
        message: str,
        *,
        run_id: str,
        state: str,
        problem: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.run_id = run_id
        self.state = state
        self.problem = problem


class StillWaitingError(LinkageClientError):
    """What is waited for took longer than the caller wanted to wait; nothing was stopped by that."""

    code = "still_waiting"


class RunStillGoingError(StillWaitingError):
    """A run took longer than the caller wanted to wait; it goes on at the service."""

    code = "run_still_going"


class LocalServiceError(LinkageClientError):
    """The service that the demo or a test started on this machine did not start, or ended before its time."""

    code = "local_service"


class ServiceConnectionError(LinkageClientError):
    """The service could not be reached, or the connection broke. Whether it acted on the request is not known."""

    code = "connection"


class IncompleteDownloadError(ServiceConnectionError):
    """An answer stopped, or skipped rows, before its end; what arrived must not be used."""

    code = "incomplete_download"


class UnexpectedAnswerError(LinkageClientError):
    """Something answered that is not this API: a proxy, a log-in page, another version of the service."""

    code = "unexpected_answer"

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.status = status


@dataclass(frozen=True, slots=True)
class RefusedElement:
    """One part of an agreement that refused: which element, which rule, and why in words."""

    element: str
    policy: str
    reason: str


class ServiceError(LinkageClientError):
    """The service refused. `problem` is the whole answer (RFC 9457); `request_id` finds it in the service's log."""

    code = "service_error"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}
        self.retry_after_s = retry_after_s

    @property
    def agreement(self) -> Any:
        """The agreement that refused, as the service names it; None where none was involved."""
        return self.problem.get("agreement")

    @property
    def elements(self) -> tuple[RefusedElement, ...]:
        """The parts of the agreement that refused, in the order of the answer."""
        listed = self.problem.get("elements")
        return tuple(
            RefusedElement(
                element=str(item.get("element", "")),
                policy=str(item.get("policy", "")),
                reason=str(item.get("reason", "")),
            )
            for item in (listed if isinstance(listed, list) else [])
            if isinstance(item, Mapping)
        )


class InvalidRequestError(ServiceError):
    """400, 405, 406, 413, 415, 422: the request itself is at fault; `problem["errors"]` points at the places."""


class NotAuthenticatedError(ServiceError):
    """401: the client is not known or revoked, its key is another one, or its clock is wrong."""


class PolicyRefusalError(ServiceError):
    """403: an agreement, or a role, does not allow it; `elements` says which part of which agreement."""


class NotFoundError(ServiceError):
    """404: absent, or not visible to this client; the service does not tell the two apart."""


class StateConflictError(ServiceError):
    """409, 410, 412, 428: not possible in the present state, or someone else was quicker."""


class TryAgainLaterError(ServiceError):
    """429 and 5xx: overloaded, under maintenance or broken; `retry_after_s` where the service says."""
