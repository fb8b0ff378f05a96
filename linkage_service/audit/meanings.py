"""What each event means: ``python -m linkage_service.audit.meanings`` prints the reference that is kept in `docs/`.

One entry for each type of the catalogue. Tests hold that every type has one, that each is written somewhere, that no
event has members that its entry does not name, and that every guarded route has an event for success and for refusal.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from linkage_service.access.actions import Action
from linkage_service.audit.alarms import MEANINGS as ALARMS
from linkage_service.audit.catalogue import EventType as E

Variant = Literal["success", "refusal"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """One type of event.

    Attributes:
        when: when it is written.
        resource: the kinds of thing that it is about.
        counts: the numbers in its header, with their meaning.
        detail: the members of `detail` in its body, with their meaning.
    """

    when: str
    resource: tuple[str, ...]
    counts: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, str] = field(default_factory=dict)


def variant(event_type: E) -> Variant:
    """Whether a type says that something was done, or that it was refused."""
    return "refusal" if event_type.value.endswith(".refused") else "success"


_REASON = {"reason": "the reason that was stated"}
_SANCTION = {**_REASON, "sanction": "as the agreements' ladders name it"}
_NAME_AND_ROLES = {"name": "of the person invited", "roles": "of the person"}
_KEY = {"key_thumbprint": "of the key (RFC 7638)"}
_DUE = {"due": "the date by which it was to be deleted", "reason": "which date that is"}
_SESSIONS = {"sessions": "how many ended"}
_ATTEMPT = {"attempt": "number of the attempt"}
_EPOCH = {"epoch": "number of the key epoch"}
_KEYSET = {"keyset": "digest of the cards of all providers"}
_RECORDS = {"records": "rows of the upload"}
_SIZE = {**_RECORDS, "bytes": "size of the encodings"}

MEANINGS: Mapping[E, Meaning] = {
    E.SERVICE_INITIALISED: Meaning(
        "The service was made; the first event of every log.", ("organisation",), {"clients": "how many it began with"}
    ),
    E.SERVICE_REFUSED: Meaning("Something was refused that belongs to no other noun.", ("service",)),
    E.ORGANISATION_CREATED: Meaning("The linkage unit entered an organisation.", ("organisation",)),
    E.ORGANISATION_INVITED: Meaning("It was sent an invitation, or a new one.", ("organisation",)),
    E.ORGANISATION_REGISTERED: Meaning(
        "It redeemed its invitation: its signing key and its first client are known.", ("organisation",), {},
        {"roles": "of the client", **_KEY},
    ),
    E.ORGANISATION_ASSURANCE_RECORDED: Meaning(
        "Its security assurance return was recorded.", ("organisation",), {},
        {"status": "what it achieved", "expires_at": "until when", "evidence": "where it was seen"},
    ),
    E.ORGANISATION_WARNED: Meaning("An officer warned it.", ("organisation",), {}, _SANCTION),
    E.ORGANISATION_SUSPENDED: Meaning("An officer suspended it.", ("organisation",), {}, _SANCTION),
    E.ORGANISATION_REINSTATED: Meaning("An officer lifted its suspension.", ("organisation",), {}, _SANCTION),
    E.ORGANISATION_REFUSED: Meaning("Something about an organisation was refused.", ("organisation", "service")),
    E.CLIENT_ADDED: Meaning(
        "A machine was registered.", ("client",), {}, {"roles": "of the client", **_KEY}
    ),
    E.CLIENT_REVOKED: Meaning("A machine was revoked for good.", ("client",)),
    E.CLIENT_KEY_ADDED: Meaning("A machine has a further key.", ("client",), {}, _KEY),
    E.CLIENT_KEY_REVOKED: Meaning("A key of a machine was revoked.", ("client",), {}, _KEY),
    E.CLIENT_WARNED: Meaning("An officer warned about a machine.", ("client",), {}, _SANCTION),
    E.CLIENT_SUSPENDED: Meaning("An officer suspended a machine.", ("client",), {}, _SANCTION),
    E.CLIENT_REINSTATED: Meaning("An officer lifted the suspension of a machine.", ("client",), {}, _SANCTION),
    E.CLIENT_REFUSED: Meaning("Something about machines or keys was refused.", ("client", "organisation")),
    E.PERSON_INVITED: Meaning(
        "A person was sent a one-time link.", ("person",), {},
        {**_NAME_AND_ROLES, "before": "roles before", "after": "roles after"},
    ),
    E.PERSON_ENROLLED: Meaning("A person chose a password and a second factor.", ("person",)),
    E.PERSON_SIGNED_IN: Meaning("A person signed in.", ("person",)),
    E.PERSON_SIGNED_OUT: Meaning("A person signed out.", ("person",), _SESSIONS),
    E.PERSON_STEPPED_UP: Meaning("A person gave the second factor again.", ("person",)),
    E.PERSON_SESSIONS_REVOKED: Meaning("Sessions of a person were ended.", ("person",), _SESSIONS),
    E.PERSON_PASSWORD_CHANGED: Meaning("A person changed the password.", ("person",), _SESSIONS),
    E.PERSON_SECOND_FACTOR_RESET: Meaning(
        "A person was sent a new link; password and second factor stopped working.", ("person",), {},
        {**_NAME_AND_ROLES, "before": "roles before", "after": "roles after"},
    ),
    E.PERSON_ROLES_CHANGED: Meaning(
        "A person has other roles.", ("person",), {}, {"before": "roles before", "after": "roles after"}
    ),
    E.PERSON_DISABLED: Meaning("A person's account was closed.", ("person",)),
    E.PERSON_ENABLED: Meaning("A person's account was opened again.", ("person",)),
    E.PERSON_REFUSED: Meaning(
        "Something about a person was refused, or somebody failed to sign in as one; then the actor is unknown.",
        ("person", "organisation"),
    ),
    E.KEY_CARD_PUBLISHED: Meaning(
        "An organisation published its key card, or another one in its place. Only it and the linkage unit's officers "
        "see this event; the other providers see the card, and since when, in the exchange of keys.",
        ("organisation",), {}, {"card": "digest of the card", "replaced": "digest of the one before"},
    ),
    E.KEY_CARD_REFUSED: Meaning("A key card was refused.", ("organisation", "key_card")),
    E.TOKEN_ISSUED: Meaning("A machine got an access token.", ("client",)),
    E.TOKEN_REFUSED: Meaning(
        "A registered machine was refused a token, or a token was used without its key.", ("client",)
    ),
    E.AGREEMENT_DRAFTED: Meaning("An agreement, or a changed draft of it, was entered.", ("agreement",)),
    E.AGREEMENT_PROPOSED: Meaning("A version was proposed, and cannot be changed any more.", ("agreement",)),
    E.AGREEMENT_SIGNED: Meaning("A party signed a version.", ("agreement",)),
    E.AGREEMENT_ACTIVATED: Meaning("Every party has signed: the version is in force.", ("agreement",)),
    E.AGREEMENT_AMENDED: Meaning("An amendment took the place of the version before.", ("agreement",)),
    E.AGREEMENT_SUSPENDED: Meaning("All processing under it stopped.", ("agreement",), {}, _REASON),
    E.AGREEMENT_REINSTATED: Meaning("Its suspension was lifted.", ("agreement",), {}, _REASON),
    E.AGREEMENT_REVIEWED: Meaning(
        "An officer recorded a review.", ("agreement",), {},
        {"passed": "whether it may go on", "review_by": "when the next is due", "findings": "what was found"},
    ),
    E.AGREEMENT_EXPIRED: Meaning("The end of its term has come.", ("agreement",)),
    E.AGREEMENT_TERMINATED: Meaning("It was ended for good.", ("agreement",), {}, _REASON),
    E.AGREEMENT_WITHDRAWN: Meaning("A version was taken back before all had signed.", ("agreement",)),
    E.AGREEMENT_REFUSED: Meaning("Something about an agreement was refused.", ("agreement", "service")),
    E.PROJECT_OPENED: Meaning("A linkage round was opened.", ("project",), {"providers": "that take part"}),
    E.PROJECT_CLOSED: Meaning(
        "It was closed; every provider's encodings were deleted.", ("project",),
        {"uploads": "deleted", "runs": "cancelled"},
    ),
    E.PROJECT_PROVIDER_JOINED: Meaning(
        "A provider of the agreement joined it.", ("project",), _EPOCH, {"provider": "id of the organisation"}
    ),
    E.PROJECT_PROVIDER_LEFT: Meaning(
        "A provider left it, or an officer took it out.", ("project",), _EPOCH, {"provider": "id of the organisation"}
    ),
    E.PROJECT_DISCLOSURES_VIEWED: Meaning("Somebody read who retrieved what.", ("project",)),
    E.PROJECT_REFUSED: Meaning("Something about a project was refused.", ("project", "agreement")),
    E.KEY_EPOCH_OPENED: Meaning(
        "The secret of a project was given up for a new one: encodings made with it are matched no more, and deleted "
        "by the next sweep.", ("project",),
        {**_EPOCH, "uploads": "that are matched no more", "runs": "that were ended"}, {"reason": "why it was opened"},
    ),
    E.KEY_EPOCH_REFUSED: Meaning("A new key epoch was refused.", ("project", "key_epoch")),
    E.KEY_EXCHANGE_CODE_COMPARED: Meaning(
        "A provider's people compared the safety code with the others.", ("project",), _EPOCH, _KEYSET
    ),
    E.KEY_EXCHANGE_ENVELOPES_POSTED: Meaning(
        "A provider sent the secret, encrypted, to others.", ("project",), {**_EPOCH, "envelopes": "how many"},
        {**_KEYSET, "to": "ids of the organisations", "initiator": "whether it was the first of the epoch"},
    ),
    E.KEY_EXCHANGE_ENVELOPES_RETRIEVED: Meaning(
        "A provider fetched the envelopes that were sent to it.", ("project",), {**_EPOCH, "envelopes": "how many"},
        {**_KEYSET, "from": "ids of the organisations"},
    ),
    E.KEY_EXCHANGE_SECRET_CONFIRMED: Meaning(
        "A provider showed that it holds the secret of the epoch.", ("project",), _EPOCH
    ),
    E.KEY_EXCHANGE_REFUSED: Meaning(
        "Something about the exchange of keys was refused.", ("project", "key_exchange")
    ),
    E.UPLOAD_DECLARED: Meaning("A provider said what it will upload.", ("upload",), _SIZE),
    E.UPLOAD_PART_RECEIVED: Meaning(
        "A part of it arrived.", ("upload",), {"part": "its number", "bytes": "its size"}
    ),
    E.UPLOAD_COMPLETED: Meaning("All of it arrived and was taken.", ("upload",), _SIZE),
    E.UPLOAD_DELETED: Meaning(
        "Its encodings were deleted: by its provider, by date, or because its project or run ended.", ("upload",),
        _RECORDS, _DUE,
    ),
    E.UPLOAD_QUESTIONED: Meaning(
        "It was taken and looks odd.", ("upload",), {"*": "1 for each kind of finding, by its code"},
        {"findings": "code and words of each"},
    ),
    E.UPLOAD_ROW_TRACED: Meaning("A provider asked who received anything made from one row.", ("upload",)),
    E.UPLOAD_REFUSED: Meaning("Something about an upload was refused.", ("upload", "project")),
    E.RUN_REQUESTED: Meaning(
        "A run of the matcher was asked for.", ("run",),
        {
            "uploads": "that it compares", "blocking": "1 where not all pairs are compared",
            "target_precision_millionths": "the precision aimed at",
            "threshold_millionths": "the fixed similarity asked for",
        },
    ),
    E.RUN_STARTED: Meaning("A worker began, or began again.", ("run",), _ATTEMPT),
    E.RUN_SUCCEEDED: Meaning(
        "It ended with a result.", ("run",), _ATTEMPT
    ),
    E.RUN_FAILED: Meaning("It ended without one.", ("run",), _ATTEMPT, {"code": "why"}),
    E.RUN_CANCELLED: Meaning("It was cancelled.", ("run",)),
    E.RUN_RESTRICTED: Meaning(
        "An officer put a hold on it.", ("run",), {}, {"ground": "of Article 18(1)", **_REASON}
    ),
    E.RUN_RESTRICTION_LIFTED: Meaning("The hold was lifted.", ("run",), {}, _REASON),
    E.RUN_RECOMPUTED: Meaning(
        "Its result was made again after rows were withdrawn.", ("run",),
        {**_ATTEMPT, "rows": "withdrawn, from the agreement's least count up"},
    ),
    E.RUN_DELETED: Meaning("Its result was deleted.", ("run",), {"uploads": "that it had compared"}, _DUE),
    E.RUN_REFUSED: Meaning(
        "Something about a run was refused, by request or when a worker began or ended it.", ("run", "project"),
        _ATTEMPT,
    ),
    E.RELEASE_GRANTED: Meaning("A run's link tables may go to one recipient.", ("release",)),
    E.RELEASE_RESTRICTED: Meaning(
        "An officer put a hold on it.", ("release",), {}, {"ground": "of Article 18(1)", **_REASON}
    ),
    E.RELEASE_RESTRICTION_LIFTED: Meaning("The hold was lifted.", ("release",), {}, _REASON),
    E.RELEASE_DELETED: Meaning("It ended: its tables can be fetched no more.", ("release",), {"releases": "1"}, _DUE),
    E.RELEASE_KEY_DELETED: Meaning(
        "The key of a recipient's link ids was destroyed.", ("release",), {"*": "how many keys"}
    ),
    E.RELEASE_REFUSED: Meaning("Something about a release was refused.", ("release", "run")),
    E.WITHDRAWAL_MADE: Meaning(
        "A provider took rows out of its upload.", ("upload",),
        {"rows": "how many, from the agreement's least count up"},
        {"reason": "objection, or another of the list", "withdrawal": "its id"},
    ),
    E.WITHDRAWAL_RETRIEVED: Meaning(
        "A recipient read which link ids it has to delete.", ("release",), {"links": "how many, if it may be told"}
    ),
    E.WITHDRAWAL_REFUSED: Meaning("Something about a withdrawal was refused.", ("upload", "release", "withdrawal")),
    E.CERTIFICATE_ISSUED: Meaning(
        "The service signed what it had deleted.", ("certificate",), {"items": "deleted things on it"}
    ),
    E.CERTIFICATE_RETRIEVED: Meaning("Somebody fetched a certificate.", ("certificate",)),
    E.CERTIFICATE_REFUSED: Meaning("A certificate was refused.", ("certificate", "project")),
    E.LINK_TABLE_RETRIEVED: Meaning(
        "A provider fetched its rows' link ids: a disclosure.", ("release",), {"rows": "how many, in a blind table"}
    ),
    E.LINK_TABLE_REFUSED: Meaning("A link table was refused.", ("release", "link_table")),
    E.SUMMARY_RETRIEVED: Meaning("Somebody read a run's summary.", ("run",)),
    E.SUMMARY_REFUSED: Meaning("A summary was refused.", ("run", "summary")),
    E.REPORT_RETRIEVED: Meaning("Somebody read a run's report.", ("run",)),
    E.REPORT_REFUSED: Meaning("A report was refused.", ("run", "report")),
    E.AUDIT_VIEWED: Meaning(
        "Somebody read the log, one event, its receipt, or the alarms.", ("audit", "alarm"), {},
        {"filter": "what was looked for"},
    ),
    E.AUDIT_REPLAYED: Meaning(
        "An officer had a recorded decision made again, from the facts that were judged.", ("audit",), {},
        {"agrees": "whether the answer was the one recorded"},
    ),
    E.AUDIT_KEY_ROTATED: Meaning(
        "The log was handed over from its key to another.", ("audit",), {},
        {"size": "of the log then", "old": "verifier key", "new": "verifier key"},
    ),
    E.AUDIT_EXPORTED: Meaning(
        "Somebody exported the log.", ("audit",), {"events": "how many"},
        {"format": "of the export", "filter": "what was looked for", "first": "number", "last": "number"},
    ),
    E.AUDIT_BODIES_DISPOSED: Meaning(
        "Bodies of events were deleted at the end of their retention.", ("audit",), {"bodies": "how many"}
    ),
    E.AUDIT_REFUSED: Meaning("Reading or exporting the log was refused.", ("audit",)),
    E.ALARM_RAISED: Meaning(
        "Something happened that an officer should look at. The outcome's code is the kind of alarm.", ("alarm",), {},
        {"kind": "of alarm", "*": "the figures and ids that it rests on"},
    ),
    E.ALARM_ACKNOWLEDGED: Meaning("An officer looked into it.", ("alarm",), {}, {"kind": "of alarm", **_REASON}),
    E.ALARM_REFUSED: Meaning("Reading or acknowledging alarms was refused.", ("audit", "alarm")),
}  # fmt: skip

_INTRODUCTION = """# Events

Made by `python -m linkage_service.audit.meanings` from the catalogue, and compared with it by a test. The catalogue is
closed: nothing else can be written. In the header stand who acted, for which organisation, how they were recognised,
under which version of which agreement, on what, with which decision and outcome, from where and when. The body, which
is deleted at the end of its retention, holds the name of a person as it was then, the facts that were judged, and the
details below. Neither ever holds anything about a data subject.

A refusal is written in the same detail as a success: its header names the policies that refused, and its outcome is
`refused`, or `failed` where the service itself failed. What a GET does not find is no refusal.
"""


def reference() -> str:
    """The catalogue as Markdown."""
    lines = [_INTRODUCTION]
    noun = ""
    for event_type, meaning in MEANINGS.items():
        if event_type.value.partition(".")[0] != noun:
            noun = event_type.value.partition(".")[0]
            lines += [
                f"## {noun}", "",
                "| type | when | variant | about | numbers in the header | details in the body |",
                "|---|---|---|---|---|---|",
            ]  # fmt: skip
        lines.append(
            f"| `{event_type.value}` | {meaning.when} | {variant(event_type)} | {', '.join(meaning.resource)} | "
            f"{_members(meaning.counts)} | {_members(meaning.detail)} |"
        )
        if _is_last(event_type, noun):
            lines += ["", f"Refused as `{noun}.refused`: {_actions(noun)}.", ""]
    lines += ["## Kinds of alarm", "", "| kind | what it says |", "|---|---|"]
    lines += [f"| `{kind}` | {words} |" for kind, words in ALARMS.items()]
    return "\n".join(lines) + "\n"


def _is_last(event_type: E, noun: str) -> bool:
    following = list(MEANINGS)[list(MEANINGS).index(event_type) + 1 :]
    return not following or following[0].value.partition(".")[0] != noun


def _actions(noun: str) -> str:
    names = [f"`{action.value}`" for action in Action if action.noun == noun]
    return ", ".join(names) or "what happens before anybody is signed in"


def _members(members: Mapping[str, str]) -> str:
    return "; ".join(f"{words}" if name == "*" else f"`{name}`: {words}" for name, words in members.items())


if __name__ == "__main__":
    sys.stdout.write(reference())
