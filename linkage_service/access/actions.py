"""The closed list of things a caller can do, each with the noun its ledger events carry and the grant it needs."""

from enum import Enum
from typing import Self


class Action(Enum):
    """One action of the policy.

    Attributes:
        value: the action's name in `policy.cedar`.
        noun: what the ledger event is about; a refusal is the event `<noun>.refused`.
        needs: who may do it, said to a caller who was refused for lack of a grant.
    """

    noun: str
    needs: str

    def __new__(cls, value: str, noun: str, needs: str) -> Self:
        """Keeps the first item as the value, the others as attributes."""
        member = object.__new__(cls)
        member._value_ = value
        member.noun = noun
        member.needs = needs
        return member

    BROWSE = ("browse", "service", "any registered client or person")
    CREATE_ORGANISATION = ("createOrganisation", "organisation", "an administrator of the linkage unit")
    INVITE_ORGANISATION = ("inviteOrganisation", "organisation", "an administrator of the linkage unit")
    READ_ORGANISATION = ("readOrganisation", "organisation", "any registered client or person")
    RECORD_ASSURANCE = ("recordAssurance", "organisation", "an administrator or officer of the linkage unit")
    SANCTION_ORGANISATION = ("sanctionOrganisation", "organisation", "an officer of the linkage unit")
    READ_CLIENTS = (
        "readClients",
        "client",
        "the client itself, a signatory or administrator of its organisation, or of the linkage unit's an officer",
    )
    MANAGE_CLIENTS = (
        "manageClients",
        "client",
        "a signatory or administrator of the same organisation, or for officers of the linkage unit another officer",
    )
    ROTATE_KEY = (
        "rotateKey",
        "client",
        (
            "the client itself, a signatory or administrator of its organisation, or for an officer of the linkage "
            "unit another officer"
        ),
    )
    SANCTION_CLIENT = ("sanctionClient", "client", "an officer of the linkage unit")
    MANAGE_PEOPLE = (
        "managePeople",
        "person",
        (
            "a signatory or administrator of the same organisation, for its first signatory an administrator of the "
            "linkage unit, or for officers of the linkage unit another officer"
        ),
    )
    READ_PEOPLE = (
        "readPeople",
        "person",
        "a signatory or administrator of the same organisation, or of the linkage unit an officer",
    )
    MANAGE_SELF = ("manageSelf", "person", "the person")
    CHANGE_PASSWORD = ("changePassword", "person", "the person")
    PUBLISH_KEY_CARD = ("publishKeyCard", "key_card", "an analyst of the organisation")
    DRAFT_AGREEMENT = (
        "draftAgreement",
        "agreement",
        "a signatory or analyst of a party named in the document, or an administrator of the linkage unit",
    )
    READ_AGREEMENT = ("readAgreement", "agreement", "a client or person of a party, or of the linkage unit")
    AMEND_AGREEMENT = (
        "amendAgreement",
        "agreement",
        "a signatory or analyst of a party, or an administrator of the linkage unit",
    )
    PROPOSE_AGREEMENT = (
        "proposeAgreement",
        "agreement",
        "a signatory or analyst of a party, or an administrator of the linkage unit",
    )
    SIGN_AGREEMENT = ("signAgreement", "agreement", "a signatory of a party")
    SUSPEND_AGREEMENT = (
        "suspendAgreement",
        "agreement",
        "an officer of the linkage unit, or a signatory of a party",
    )
    REINSTATE_AGREEMENT = ("reinstateAgreement", "agreement", "an officer of the linkage unit")
    REVIEW_AGREEMENT = ("reviewAgreement", "agreement", "an officer of the linkage unit")
    TERMINATE_AGREEMENT = (
        "terminateAgreement",
        "agreement",
        "an officer of the linkage unit, or a signatory of a party",
    )
    OPEN_PROJECT = ("openProject", "project", "an analyst or recipient of a party")
    READ_PROJECT = ("readProject", "project", "a client or person of a party, or an officer of the linkage unit")
    CLOSE_PROJECT = ("closeProject", "project", "an analyst or signatory of a party, or an officer of the linkage unit")
    EXCHANGE_KEYS = ("exchangeKeys", "key_exchange", "an analyst of a provider in this project")
    OPEN_KEY_EPOCH = (
        "openKeyEpoch",
        "key_epoch",
        "an analyst of a provider in this project, or an officer of the linkage unit",
    )
    JOIN_PROJECT = ("joinProject", "project", "an analyst of a provider in the agreement")
    LEAVE_PROJECT = (
        "leaveProject",
        "project",
        "an analyst or signatory of the provider that leaves, or an officer of the linkage unit",
    )
    READ_CERTIFICATES = (
        "readCertificates",
        "certificate",
        "a client or person of a party, or an officer of the linkage unit",
    )
    UPLOAD_ENCODINGS = ("uploadEncodings", "upload", "an analyst of a provider in this project")
    CONTINUE_UPLOAD = ("continueUpload", "upload", "an analyst of the provider that made the upload")
    READ_UPLOAD = ("readUpload", "upload", "an analyst of the provider that made the upload")
    DELETE_UPLOAD = ("deleteUpload", "upload", "an analyst of the provider that made the upload")
    WITHDRAW_ROWS = ("withdrawRows", "withdrawal", "an analyst of the provider that made the upload")
    TRACE_ROW = ("traceRow", "upload", "an analyst of the provider that made the upload")
    START_RUN = ("startRun", "run", "an analyst of a provider, or a recipient")
    CARRY_OUT_RUN = ("carryOutRun", "run", "the service's worker")
    READ_RUN = ("readRun", "run", "a client or person of a party")
    CANCEL_RUN = ("cancelRun", "run", "an analyst of a provider, or a recipient")
    RESTRICT_RUN = ("restrictRun", "run", "an officer of the linkage unit")
    READ_SUMMARY = ("readSummary", "summary", "an analyst of a provider, or a recipient")
    READ_REPORT = ("readReport", "report", "an analyst of a provider, or a recipient")
    REQUEST_RELEASE = ("requestRelease", "release", "a recipient named in the agreement")
    READ_RELEASE = ("readRelease", "release", "a client or person of a party")
    RESTRICT_RELEASE = ("restrictRelease", "release", "an officer of the linkage unit")
    READ_WITHDRAWALS = ("readWithdrawals", "withdrawal", "the recipient of the release")
    RETRIEVE_LINK_TABLE = ("retrieveLinkTable", "link_table", "an analyst of a provider in the run")
    READ_DISCLOSURES = (
        "readDisclosures",
        "project",
        "a client or person of a party, or an officer of the linkage unit",
    )
    READ_LEDGER = ("readLedger", "audit", "any registered client or person, within what its organisation may see")
    EXPORT_LEDGER = (
        "exportLedger",
        "audit",
        "an officer of the linkage unit, or an officer of a party for what its organisation may see",
    )
    REPLAY_DECISION = (
        "replayDecision",
        "audit",
        "an officer of the linkage unit, or an officer of a party for what its organisation asked for",
    )
    READ_ALARMS = (
        "readAlarms",
        "alarm",
        "an officer of the linkage unit, or an officer of a party for what its organisation may see",
    )
    ACKNOWLEDGE_ALARM = ("acknowledgeAlarm", "alarm", "an officer of the linkage unit")
