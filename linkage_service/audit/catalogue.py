"""The closed catalogue of ledger events. An event that is not here cannot be written."""

from enum import StrEnum


class EventType(StrEnum):
    """What happened. Each noun has one `refused` event for everything that was asked of it and not done."""

    SERVICE_INITIALISED = "service.initialised"
    SERVICE_REFUSED = "service.refused"

    ORGANISATION_CREATED = "organisation.created"
    ORGANISATION_INVITED = "organisation.invited"
    ORGANISATION_REGISTERED = "organisation.registered"
    ORGANISATION_ASSURANCE_RECORDED = "organisation.assurance_recorded"
    ORGANISATION_WARNED = "organisation.warned"
    ORGANISATION_SUSPENDED = "organisation.suspended"
    ORGANISATION_REINSTATED = "organisation.reinstated"
    ORGANISATION_REFUSED = "organisation.refused"

    CLIENT_ADDED = "client.added"
    CLIENT_REVOKED = "client.revoked"
    CLIENT_KEY_ADDED = "client.key_added"
    CLIENT_KEY_REVOKED = "client.key_revoked"
    CLIENT_WARNED = "client.warned"
    CLIENT_SUSPENDED = "client.suspended"
    CLIENT_REINSTATED = "client.reinstated"
    CLIENT_REFUSED = "client.refused"

    PERSON_INVITED = "person.invited"
    PERSON_ENROLLED = "person.enrolled"
    PERSON_SIGNED_IN = "person.signed_in"
    PERSON_SIGNED_OUT = "person.signed_out"
    PERSON_STEPPED_UP = "person.stepped_up"
    PERSON_SESSIONS_REVOKED = "person.sessions_revoked"
    PERSON_PASSWORD_CHANGED = "person.password_changed"  # noqa: S105 - the name of an event
    PERSON_SECOND_FACTOR_RESET = "person.second_factor_reset"
    PERSON_ROLES_CHANGED = "person.roles_changed"
    PERSON_DISABLED = "person.disabled"
    PERSON_ENABLED = "person.enabled"
    PERSON_REFUSED = "person.refused"

    KEY_CARD_PUBLISHED = "key_card.published"
    KEY_CARD_REFUSED = "key_card.refused"

    TOKEN_ISSUED = "token.issued"  # noqa: S105 - the name of an event
    TOKEN_REFUSED = "token.refused"  # noqa: S105 - the name of an event

    AGREEMENT_DRAFTED = "agreement.drafted"
    AGREEMENT_PROPOSED = "agreement.proposed"
    AGREEMENT_SIGNED = "agreement.signed"
    AGREEMENT_ACTIVATED = "agreement.activated"
    AGREEMENT_AMENDED = "agreement.amended"
    AGREEMENT_SUSPENDED = "agreement.suspended"
    AGREEMENT_REINSTATED = "agreement.reinstated"
    AGREEMENT_REVIEWED = "agreement.reviewed"
    AGREEMENT_EXPIRED = "agreement.expired"
    AGREEMENT_TERMINATED = "agreement.terminated"
    AGREEMENT_WITHDRAWN = "agreement.withdrawn"
    AGREEMENT_REFUSED = "agreement.refused"

    PROJECT_OPENED = "project.opened"
    PROJECT_CLOSED = "project.closed"
    PROJECT_PROVIDER_JOINED = "project.provider_joined"
    PROJECT_PROVIDER_LEFT = "project.provider_left"
    PROJECT_DISCLOSURES_VIEWED = "project.disclosures_viewed"
    PROJECT_REFUSED = "project.refused"

    KEY_EPOCH_OPENED = "key_epoch.opened"
    KEY_EPOCH_REFUSED = "key_epoch.refused"

    KEY_EXCHANGE_CODE_COMPARED = "key_exchange.code_compared"
    KEY_EXCHANGE_ENVELOPES_POSTED = "key_exchange.envelopes_posted"
    KEY_EXCHANGE_ENVELOPES_RETRIEVED = "key_exchange.envelopes_retrieved"
    KEY_EXCHANGE_SECRET_CONFIRMED = "key_exchange.secret_confirmed"  # noqa: S105 - the name of an event
    KEY_EXCHANGE_REFUSED = "key_exchange.refused"

    UPLOAD_DECLARED = "upload.declared"
    UPLOAD_PART_RECEIVED = "upload.part_received"
    UPLOAD_COMPLETED = "upload.completed"
    UPLOAD_DELETED = "upload.deleted"
    UPLOAD_QUESTIONED = "upload.questioned"
    UPLOAD_ROW_TRACED = "upload.row_traced"
    UPLOAD_REFUSED = "upload.refused"

    RUN_REQUESTED = "run.requested"
    RUN_STARTED = "run.started"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_RESTRICTED = "run.restricted"
    RUN_RESTRICTION_LIFTED = "run.restriction_lifted"
    RUN_RECOMPUTED = "run.recomputed"
    RUN_DELETED = "run.deleted"
    RUN_REFUSED = "run.refused"

    RELEASE_GRANTED = "release.granted"
    RELEASE_RESTRICTED = "release.restricted"
    RELEASE_RESTRICTION_LIFTED = "release.restriction_lifted"
    RELEASE_DELETED = "release.deleted"
    RELEASE_KEY_DELETED = "release.key_deleted"
    RELEASE_REFUSED = "release.refused"

    WITHDRAWAL_MADE = "withdrawal.made"
    WITHDRAWAL_RETRIEVED = "withdrawal.retrieved"
    WITHDRAWAL_REFUSED = "withdrawal.refused"

    CERTIFICATE_ISSUED = "certificate.issued"
    CERTIFICATE_RETRIEVED = "certificate.retrieved"
    CERTIFICATE_REFUSED = "certificate.refused"

    LINK_TABLE_RETRIEVED = "link_table.retrieved"
    LINK_TABLE_REFUSED = "link_table.refused"

    SUMMARY_RETRIEVED = "summary.retrieved"
    SUMMARY_REFUSED = "summary.refused"

    REPORT_RETRIEVED = "report.retrieved"
    REPORT_REFUSED = "report.refused"

    AUDIT_VIEWED = "audit.viewed"
    AUDIT_REPLAYED = "audit.replayed"
    AUDIT_KEY_ROTATED = "audit.key_rotated"
    AUDIT_EXPORTED = "audit.exported"
    AUDIT_BODIES_DISPOSED = "audit.bodies_disposed"
    AUDIT_REFUSED = "audit.refused"

    ALARM_RAISED = "alarm.raised"
    ALARM_ACKNOWLEDGED = "alarm.acknowledged"
    ALARM_REFUSED = "alarm.refused"
