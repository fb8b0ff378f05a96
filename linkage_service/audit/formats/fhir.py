"""Events as FHIR R4 AuditEvent resources (https://hl7.org/fhir/R4/auditevent.html), one a line (NDJSON).

Clients, people and organisations are named by identifier: the receiver's own server knows no resource of theirs.
"""

import json
from ipaddress import ip_address
from typing import Any

from linkage_service.audit.formats import ocsf
from linkage_service.audit.tables import AuditEvent

_IDS = "urn:linkage:id"
_EVENT_TYPES, _PURPOSES, _KINDS = "urn:linkage:event-type", "urn:linkage:purpose", "urn:linkage:resource-type"
_REST = {
    "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
    "code": "rest",
    "display": "RESTful Operation",
}
_USER_AUTHENTICATION = {
    "system": "http://dicom.nema.org/resources/ontology/DCM",
    "code": "110114",
    "display": "User Authentication",
}
# http://hl7.org/fhir/ValueSet/audit-event-action and .../audit-event-outcome
_ACTIONS = {1: "C", 2: "R", 3: "U", 4: "D"}
_EXECUTE = "E"
_OUTCOMES = {"success": "0", "refused": "4", "failed": "8"}
_IP_ADDRESS, _MACHINE_NAME = "2", "1"


def line(event: AuditEvent, origin: str) -> bytes:
    """An event as one line of JSON."""
    return json.dumps(resource(event, origin), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def resource(event: AuditEvent, origin: str) -> dict[str, Any]:
    """An event as an AuditEvent."""
    header: dict[str, Any] = json.loads(event.header)
    as_ocsf = ocsf.document(event, origin)
    signing_in = as_ocsf["class_uid"] == ocsf.AUTHENTICATION
    purposes = [{"coding": [{"system": _PURPOSES, "code": header["purpose"]}]}] if "purpose" in header else None
    made: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": header["id"],
        "type": _USER_AUTHENTICATION if signing_in else _REST,
        "subtype": [{"system": _EVENT_TYPES, "code": header["type"]}],
        "action": _EXECUTE if signing_in else _ACTIONS.get(as_ocsf["activity_id"], _EXECUTE),
        "recorded": header["time"],
        "outcome": _OUTCOMES[header["outcome"]["status"]],
        "outcomeDesc": header["outcome"]["code"],
        "purposeOfEvent": purposes,
        "agent": [_agent(header)],
        "source": {"site": origin, "observer": _named("linkage-service")},
        "entity": _entities(header, event),
    }
    return {name: value for name, value in made.items() if value is not None}


def _agent(header: dict[str, Any]) -> dict[str, Any]:
    actor = header["actor"]
    try:
        network = {"address": str(ip_address(header["source"])), "type": _IP_ADDRESS}
    except ValueError:
        network = {"address": header["source"], "type": _MACHINE_NAME}
    agent: dict[str, Any] = {
        "type": {"coding": [{"system": _KINDS, "code": actor["kind"]}]},
        "who": _named(actor.get("id", "unknown")),
        # The organisation has no place of its own here.
        "altId": actor.get("org"),
        "requestor": actor["kind"] != "system",
        "network": network,
    }
    return {name: value for name, value in agent.items() if value is not None}


def _entities(header: dict[str, Any], event: AuditEvent) -> list[dict[str, Any]]:
    acted_on, agreement, decision = header["resource"], header.get("agreement"), header.get("decision")
    details = {
        "seq": str(event.seq),
        "leaf_hash": event.leaf_hash.hex(),
        "request_id": header["request_id"],
        "operation": header["action"],
        "policies": " ".join(decision["policies"]) if decision else "",
        "elements": " ".join(event.elements or ""),
        **{f"count.{name}": str(count) for name, count in header.get("counts", {}).items()},
    }
    entities: list[dict[str, Any]] = [
        {
            "what": _named(acted_on.get("id", acted_on["type"])),
            "type": {"system": _KINDS, "code": acted_on["type"]},
            "detail": [{"type": name, "valueString": value} for name, value in details.items() if value],
        }
    ]
    if agreement is not None:
        entities.append(
            {
                "what": _named(agreement["ref"]),
                "type": {"system": _KINDS, "code": "agreement"},
                "detail": [
                    {"type": "version", "valueString": str(agreement["version"])},
                    {"type": "digest", "valueString": agreement["digest"]},
                ],
            }
        )
    if "project" in header:
        entities.append({"what": _named(header["project"]), "type": {"system": _KINDS, "code": "project"}})
    return entities


def _named(identifier: str) -> dict[str, Any]:
    return {"identifier": {"system": _IDS, "value": identifier}}
