"""Events as OCSF 1.3.0: API Activity (6003), and Authentication (3002) for what concerns signing in.

https://schema.ocsf.io/1.3.0/classes/api_activity and .../authentication: required attributes and enumerations. What has
no place there goes into `unmapped`.
"""

import json
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from linkage_service.audit.catalogue import EventType
from linkage_service.audit.tables import AuditEvent

VERSION = "1.3.0"
API_ACTIVITY, AUTHENTICATION = 6003, 3002
_APPLICATION, _IDENTITY = 6, 3
_LOGON, _LOGOFF, _OTHER = 1, 2, 99
_CREATE, _READ, _UPDATE, _DELETE = 1, 2, 3, 4
_SIGNING_IN = {
    EventType.TOKEN_ISSUED: _LOGON,
    EventType.TOKEN_REFUSED: _LOGON,
    EventType.PERSON_SIGNED_IN: _LOGON,
    EventType.PERSON_SIGNED_OUT: _LOGOFF,
    EventType.PERSON_STEPPED_UP: _OTHER,
}
_SIGN_IN_ACTIONS = {"signIn": _LOGON, "stepUp": _OTHER}
_CREATES = {
    "initialised", "created", "invited", "registered", "added", "key_added", "enrolled", "drafted", "opened",
    "declared", "requested", "granted", "made", "raised", "issued", "published", "envelopes_posted",
}  # fmt: skip
_READS = {"retrieved", "envelopes_retrieved", "viewed", "disclosures_viewed", "exported", "row_traced"}
_DELETES = {"deleted", "key_deleted", "revoked", "key_revoked", "bodies_disposed", "withdrawn"}
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_USER_TYPES = {"person": 1, "system": 3, "client": 99, "unknown": 0}
_STATUS = {"success": (1, "Success"), "refused": (2, "Failure"), "failed": (2, "Failure")}


def line(event: AuditEvent, origin: str) -> bytes:
    """An event as one line of JSON."""
    return json.dumps(document(event, origin), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def document(event: AuditEvent, origin: str) -> dict[str, Any]:
    """An event as an OCSF event."""
    header: dict[str, Any] = json.loads(event.header)
    kind = header["type"]
    status_id, status = _STATUS[header["outcome"]["status"]]
    common = {
        "time": int(datetime.fromisoformat(header["time"]).timestamp() * 1000),
        "severity_id": _severity(header),
        "metadata": {
            "version": VERSION,
            "product": {"name": "linkage-service", "vendor_name": "linkage-service"},
            "log_name": origin,
            "uid": header["id"],
            "sequence": event.seq,
            "correlation_uid": header["request_id"],
            "event_code": kind,
        },
        "message": kind,
        "status_id": status_id,
        "status": status,
        "status_code": header["outcome"]["code"],
        "src_endpoint": _endpoint(header["source"]),
        "unmapped": _unmapped(header, event),
    }
    activity = _SIGNING_IN.get(kind)
    if kind == EventType.PERSON_REFUSED:
        activity = _SIGN_IN_ACTIONS.get(header["action"])
    if activity is not None:
        return _classed(_IDENTITY, AUTHENTICATION, activity, header["action"]) | common | _signing_in(header)
    return (
        _classed(_APPLICATION, API_ACTIVITY, _activity(kind), header["action"])
        | common
        | {
            "actor": {"user": _user(header)},
            "api": {"operation": header["action"], "request": {"uid": header["request_id"]}},
            "resources": [_present(type=header["resource"]["type"], uid=header["resource"].get("id"))],
        }
    )


def _classed(category: int, number: int, activity: int, action: str) -> dict[str, Any]:
    found = {"category_uid": category, "class_uid": number, "activity_id": activity}
    # An activity of no number of its own has a name instead.
    named = {"activity_name": action} if activity == _OTHER else {}
    return found | named | {"type_uid": number * 100 + activity}


def _signing_in(header: dict[str, Any]) -> dict[str, Any]:
    method = header.get("authn", {}).get("method")
    protocol = {} if method is None else {"auth_protocol_id": 99, "auth_protocol": method}
    return {"user": _user(header), "service": {"name": "linkage-service"}, **protocol}


def _activity(kind: str) -> int:
    verb = kind.partition(".")[2]
    if verb in _CREATES:
        return _CREATE
    if verb in _READS:
        return _READ
    if verb in _DELETES:
        return _DELETE
    return _OTHER if verb == "refused" else _UPDATE


def _severity(header: dict[str, Any]) -> int:
    if header["type"] == EventType.ALARM_RAISED:
        return _HIGH
    return {"success": _INFORMATIONAL, "refused": _LOW, "failed": _MEDIUM}[header["outcome"]["status"]]


def _user(header: dict[str, Any]) -> dict[str, Any]:
    actor = header["actor"]
    # Nobody is shown to be the person as whom somebody failed to sign in; the account is what was acted on.
    uid = actor.get("id") or header["resource"].get("id") or "unknown"
    organisation = {"org": {"uid": actor["org"]}} if "org" in actor else {}
    return {"uid": uid, "type_id": _USER_TYPES[actor["kind"]], "type": actor["kind"], **organisation}


def _endpoint(source: str) -> dict[str, str]:
    try:
        return {"ip": str(ip_address(source))}
    except ValueError:
        return {"name": source}


def _unmapped(header: dict[str, Any], event: AuditEvent) -> dict[str, Any]:
    return _present(
        agreement=header.get("agreement"),
        project=header.get("project"),
        purpose=header.get("purpose"),
        decision=header.get("decision"),
        elements=event.elements,
        counts=header.get("counts"),
        authn=header.get("authn"),
        resource=header["resource"],
        leaf_hash=event.leaf_hash.hex(),
    )


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
