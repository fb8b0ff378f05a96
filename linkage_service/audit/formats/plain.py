"""Events as rows of a table (RFC 4180) and as lines of JSON that hold the exact header."""

import csv
import io
import json
from typing import Any

from linkage_service.audit.tables import AuditEvent

COLUMNS = (
    "seq", "time", "type", "outcome", "code", "actor_kind", "actor", "organisation", "authn_method", "key_thumbprint",
    "agreement", "agreement_version", "agreement_digest", "project", "resource_type", "resource", "action", "purpose",
    "effect", "elements", "policies", "counts", "request_id", "source", "id", "leaf_hash",
)  # fmt: skip
# What a spreadsheet would take for a formula, or skip before one (OWASP, CSV injection); the last four are the wide
# forms that some take for the first four.
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _row(values: list[object]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(["" if value is None else _safe(str(value)) for value in values])
    return out.getvalue().encode()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_BEGINS_FORMULA) else text


CSV_HEADING = _row(list(COLUMNS))


def csv_line(event: AuditEvent, origin: str) -> bytes:  # noqa: ARG001 - interface
    """A row: empty where an event has no such member; several policies or counts are separated by spaces."""
    header: dict[str, Any] = json.loads(event.header)
    actor, authn, resource = header["actor"], header.get("authn", {}), header["resource"]
    agreement, decision, outcome = header.get("agreement", {}), header.get("decision", {}), header["outcome"]
    counts = " ".join(f"{name}={count}" for name, count in header.get("counts", {}).items())
    return _row([
        event.seq, header["time"], header["type"], outcome["status"], outcome["code"], actor["kind"], actor.get("id"),
        actor.get("org"), authn.get("method"), authn.get("key_thumbprint"), agreement.get("ref"),
        agreement.get("version"), agreement.get("digest"), header.get("project"), resource["type"], resource.get("id"),
        header["action"], header.get("purpose"), decision.get("effect"), " ".join(event.elements or ""),
        " ".join(decision.get("policies", [])), counts, header["request_id"], header["source"], header["id"],
        event.leaf_hash.hex(),
    ])  # fmt: skip


def json_line(event: AuditEvent, origin: str) -> bytes:  # noqa: ARG001 - interface
    """A JSON object: number, leaf hash, and the exact bytes of the header that the hash is of."""
    return b'{"seq":%d,"leaf_hash":"%b","header":%b}\n' % (event.seq, event.leaf_hash.hex().encode(), event.header)
