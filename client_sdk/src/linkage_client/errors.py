"""Every error the client raises on purpose, in one tree, so that callers can catch as widely or narrowly as they need.

    LinkageClientError
    ├── DataError               an input file, or values in it, cannot be used
    │   ├── FileFormatError     the file cannot be read as what it should be
    │   ├── ColumnError         a column is absent or named twice
    │   └── ValueFormatError    values do not have the format that the linkage schema asks for
    ├── SchemaError             the linkage schema is not valid, or not safe to use
    ├── SecretError             the linkage secret cannot be used
    ├── PackageError            a directory of encodings is damaged or inconsistent
    ├── OutputExistsError       the output exists and would be overwritten
    └── WorkerError             a worker process stopped before it had finished

Messages say what happened, what it means and what to do next. They name rows and columns, never values or secrets.
"""

from dataclasses import dataclass


class LinkageClientError(Exception):
    """Root of the tree. `code` is stable and meant for programs, the message for people."""

    code = "client_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class DataError(LinkageClientError):
    """An input file, or values in it, cannot be used."""

    code = "data_error"


class FileFormatError(DataError):
    """A file cannot be read as what it should be: wrong encoding, no header, rows of different lengths."""

    code = "file_format"


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


class SchemaError(LinkageClientError):
    """The linkage schema is not valid, or not safe to use. `pointer` is the JSON pointer (RFC 6901) of the place."""

    code = "schema_invalid"

    def __init__(self, message: str, *, pointer: str = "") -> None:
        super().__init__(f"{pointer or '/'}: {message}")
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


class WorkerError(LinkageClientError):
    """A worker process stopped before it had finished; nothing has been written."""

    code = "worker_failed"
