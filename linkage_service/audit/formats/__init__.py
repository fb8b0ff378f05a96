"""Events as other tools read them: one function for each format, from an event to its lines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from linkage_service.audit.formats import fhir, ocsf, plain
from linkage_service.audit.tables import AuditEvent

FormatName = Literal["csv", "jsonl", "ocsf", "fhir"]


@dataclass(frozen=True, slots=True)
class Format:
    """A way of writing events.

    Attributes:
        media_type: of the whole.
        suffix: of a file of it.
        line: an event with the log's name, as bytes that end with a line break.
        heading: what comes before the first event.
    """

    media_type: str
    suffix: str
    line: Callable[[AuditEvent, str], bytes]
    heading: bytes = b""


FORMATS: Mapping[FormatName, Format] = {
    "csv": Format("text/csv; charset=utf-8; header=present", "csv", plain.csv_line, plain.CSV_HEADING),
    "jsonl": Format("application/x-ndjson", "jsonl", plain.json_line),
    "ocsf": Format("application/x-ndjson", "ocsf.jsonl", ocsf.line),
    "fhir": Format("application/fhir+ndjson", "fhir.ndjson", fhir.line),
}
