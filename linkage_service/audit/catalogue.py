"""The closed catalogue of ledger events. An event that is not here cannot be written."""

from enum import StrEnum


class EventType(StrEnum):
    """What happened. Each noun has one `refused` event for everything that was asked of it and not done."""

    SERVICE_INITIALISED = "service.initialised"
    SERVICE_REFUSED = "service.refused"

    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_INVITED = "organisation.invited"
    ORGANISATION_REGISTERED = "organisation.registered"
    ORGANISATION_REFUSED = "organisation.refused"

    CLIENT_ADDED = "client.added"
    CLIENT_REVOKED = "client.revoked"
    CLIENT_REFUSED = "client.refused"

    TOKEN_ISSUED = "token.issued"  # noqa: S105 - the name of an event
    TOKEN_REFUSED = "token.refused"  # noqa: S105 - the name of an event

    AGREEMENT_DRAFTED = "agreement.drafted"
    AGREEMENT_PROPOSED = "agreement.proposed"
    AGREEMENT_SIGNED = "agreement.signed"
    AGREEMENT_ACTIVATED = "agreement.activated"
    AGREEMENT_REFUSED = "agreement.refused"

    PROJECT_OPENED = "project.opened"
    PROJECT_DISCLOSURES_VIEWED = "project.disclosures_viewed"
    PROJECT_REFUSED = "project.refused"

    UPLOAD_DECLARED = "upload.declared"
    UPLOAD_PART_RECEIVED = "upload.part_received"
    UPLOAD_COMPLETED = "upload.completed"
    UPLOAD_DELETED = "upload.deleted"
    UPLOAD_REFUSED = "upload.refused"

    RUN_REQUESTED = "run.requested"
    RUN_STARTED = "run.started"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_REFUSED = "run.refused"

    RELEASE_GRANTED = "release.granted"
    RELEASE_REFUSED = "release.refused"

    LINK_TABLE_RETRIEVED = "link_table.retrieved"
    LINK_TABLE_REFUSED = "link_table.refused"

    SUMMARY_RETRIEVED = "summary.retrieved"
    SUMMARY_REFUSED = "summary.refused"

    REPORT_RETRIEVED = "report.retrieved"
    REPORT_REFUSED = "report.refused"

    AUDIT_VIEWED = "audit.viewed"
    AUDIT_REFUSED = "audit.refused"
