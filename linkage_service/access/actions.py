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

    BROWSE = ("browse", "service", "any registered client")
    CREATE_ORGANISATION = ("createOrganisation", "organisation", "an administrator of the linkage unit")
    INVITE_ORGANISATION = ("inviteOrganisation", "organisation", "an administrator of the linkage unit")
    READ_ORGANISATION = ("readOrganisation", "organisation", "any registered client")
    MANAGE_CLIENTS = ("manageClients", "client", "a signatory or administrator of the same organisation")
    DRAFT_AGREEMENT = (
        "draftAgreement",
        "agreement",
        "a signatory or analyst of a party named in the document, or an administrator of the linkage unit",
    )
    READ_AGREEMENT = ("readAgreement", "agreement", "a client of a party, or of the linkage unit")
    PROPOSE_AGREEMENT = (
        "proposeAgreement",
        "agreement",
        "a signatory or analyst of a party, or an administrator of the linkage unit",
    )
    SIGN_AGREEMENT = ("signAgreement", "agreement", "a signatory of a party")
    OPEN_PROJECT = ("openProject", "project", "an analyst or recipient of a party")
    READ_PROJECT = ("readProject", "project", "a client of a party, or an officer of the linkage unit")
    UPLOAD_ENCODINGS = ("uploadEncodings", "upload", "an analyst of a provider in this project")
    CONTINUE_UPLOAD = ("continueUpload", "upload", "an analyst of the provider that made the upload")
    READ_UPLOAD = ("readUpload", "upload", "an analyst of the provider that made the upload")
    DELETE_UPLOAD = ("deleteUpload", "upload", "an analyst of the provider that made the upload")
    START_RUN = ("startRun", "run", "an analyst of a provider, or a recipient")
    READ_RUN = ("readRun", "run", "a client of a party")
    CANCEL_RUN = ("cancelRun", "run", "an analyst of a provider, or a recipient")
    READ_SUMMARY = ("readSummary", "summary", "an analyst of a provider, or a recipient")
    READ_REPORT = ("readReport", "report", "an analyst of a provider, or a recipient")
    REQUEST_RELEASE = ("requestRelease", "release", "a recipient named in the agreement")
    READ_RELEASE = ("readRelease", "release", "a client of a party")
    RETRIEVE_LINK_TABLE = ("retrieveLinkTable", "link_table", "an analyst of a provider in the run")
    READ_DISCLOSURES = ("readDisclosures", "project", "a client of a party, or an officer of the linkage unit")
    READ_LEDGER = ("readLedger", "audit", "any registered client, within what its organisation may see")
