"""What the service answers, as types. Members that a newer service adds are ignored, so an old client keeps working."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr


class Answer(BaseModel):  # noqa: PLW1641 - pydantic makes the hash of a frozen model
    """Root of the answers: immutable, tolerant of members it does not know.

    Two answers are equal when they say the same, whichever requests they came with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=(), allow_inf_nan=False)

    _request_id: str | None = PrivateAttr(default=None)
    _ledger_event: int | None = PrivateAttr(default=None)

    @property
    def request_id(self) -> str | None:
        """The id under which the service logged the request; None for a part of an answer and for an item of a list."""
        return self._request_id

    @property
    def ledger_event(self) -> int | None:
        """The number of the event in the ledger that the request became; None where it changed nothing.

        `client.audit.receipt(seq=...)` gives the proof that it is there.
        """
        return self._ledger_event

    def came_with(self, *, request_id: str | None, ledger_event: int | None) -> Self:
        """Note what the headers of the answer said."""
        self._request_id, self._ledger_event = request_id, ledger_event
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__


class Organisation(Answer):
    """A legal body: provider, recipient, processor or the linkage unit."""

    id: str
    name: str
    kind: str
    status: str
    signing_key: dict[str, Any] | None = None
    assurance: str = "none"
    assurance_expires: datetime | None = None
    created_at: datetime


class ClientKey(Answer):
    """A public key of a machine, known by its RFC 7638 thumbprint."""

    thumbprint: str
    status: str
    registered_at: datetime
    revoked_at: datetime | None = None


class Client(Answer):
    """One machine of an organisation."""

    id: str
    organisation: str
    name: str
    roles: list[str]
    keys: list[ClientKey] = []
    """Oldest first, revoked ones included."""
    status: str
    created_at: datetime


class Me(Answer):
    """The caller, as the service knows it."""

    client: Client
    organisation: Organisation


class ServiceVersion(Answer):
    """What is running at the address of the service."""

    name: str
    version: str


class Invitation(Answer):
    """A single-use token with which an organisation registers; shown once, so it is kept out of representations."""

    token: str = Field(repr=False)
    organisation: Any = None
    expires_at: datetime


class Person(Answer):
    """A person of an organisation, who uses the console."""

    id: str
    organisation: str
    name: str
    email: str
    roles: list[str]
    status: str
    signs_in_with: str | None
    created_at: datetime


class PersonInvitation(Answer):
    """A single-use link with which a person enrols; shown once, so it is kept out of representations."""

    person: Person
    token: str = Field(repr=False)
    path: str = Field(repr=False)
    expires_at: datetime


class Registration(Answer):
    """The outcome of a registration."""

    organisation: Organisation
    client: Client


class Party(Answer):
    """One organisation of an agreement, in its roles."""

    organisation: str
    roles: list[str]
    signed: bool


class VersionState(Answer):
    """One version of an agreement: "draft", "proposed", "active", "superseded" or "withdrawn"."""

    version: int
    state: str
    digest: str
    created_at: datetime


class Review(Answer):
    """What an officer recorded of a review of an agreement."""

    version: int
    passed: bool
    review_by: datetime
    findings: str = ""
    created_at: datetime


class Agreement(Answer):
    """One information sharing protocol at a version: the one in force, or the newest that names the caller.

    `versions` holds those that name the caller; `review_by` is when the next review is due.
    """

    id: str
    reference: str
    title: str = ""
    state: str
    version: int
    version_state: str = ""
    digest: str
    parties: list[Party] = []
    versions: list[VersionState] = []
    review_by: datetime | None = None
    review: Review | None = None
    created_at: datetime

    @property
    def open_version(self) -> int | None:
        """The number of the version that is drafted or waits for signatures; None where there is none."""
        waiting = [item.version for item in self.versions if item.state in {"draft", "proposed"}]
        return max(waiting, default=None)


class Signature(Answer):
    """One party's signature over an agreement's digest."""

    organisation: str
    key_thumbprint: str
    signature: str
    signed_at: datetime


class AgreementVersion(Agreement):
    """One version of an agreement with its text."""

    document: dict[str, Any]
    signatures: list[Signature] = []


class AgreementReference(Answer):
    """The version of an agreement that a project was opened under."""

    id: str
    reference: str
    version: int
    digest: str


class Project(Answer):
    """One linkage round. `linkage_schema` is set in the answer to one project, not in lists."""

    id: str
    name: str
    agreement: AgreementReference
    kind: str = "linkage"
    purpose: str
    state: str
    linkage_schema_sha256: str
    bits: int
    providers: list[str]
    recipients: list[str]
    key_epoch: int
    created_at: datetime
    linkage_schema: dict[str, Any] | None = None


class PublishedKeyCard(Answer):
    """A provider's key card as the service holds it; `linkage_client.exchange.cards` reads and checks the document."""

    organisation: str
    digest: str
    document: dict[str, Any]
    published_at: datetime


class KeyExchangeProvider(Answer):
    """How far one provider of a project is in sharing the linkage secret of the present key epoch."""

    organisation: str
    name: str
    card: dict[str, Any] | None
    published_at: datetime | None = None
    card_changed_at: datetime | None = None
    code_compared_at: datetime | None = None
    """When its people compared the safety code of the present cards; None if they have not."""
    envelope_waiting: bool = False
    """Whether an envelope for it, sealed under the present cards, has not been fetched yet."""
    envelope_retrieved_at: datetime | None = None
    confirmed_at: datetime | None = None
    """When it showed that it holds the secret of this epoch."""
    uploaded: bool = False


class KeyExchange(Answer):
    """Where the providers of a project are in sharing the linkage secret. The secret and check values are not in it."""

    project: str
    epoch: int
    reason: str
    """Why this epoch was opened: opened, provider_joined, provider_left, suspected_leak or planned."""
    opened_by: str | None = None
    opened_at: datetime
    suite: str
    initiator: str | None = None
    """The provider that drew the secret of this epoch, once it has sent envelopes."""
    keyset_sha256: str | None = None
    """None while a card is missing or lacks keys of the suite."""
    check_value_known: bool
    providers: list[KeyExchangeProvider]


class PostedEnvelope(Answer):
    """An envelope for the caller, as its sender posted it."""

    envelope: dict[str, Any]
    posted_at: datetime


class Envelopes(Answer):
    """The envelopes that wait for the caller in the present key epoch."""

    items: list[PostedEnvelope]


class Encoder(Answer):
    """The program that made the encodings."""

    name: str
    version: str


class KeyReference(Answer):
    """Which secret was used, without saying anything about it: the epoch and a keyed check value."""

    epoch: int
    check_value: str
    derivation: str | None = None
    """How the key was made from the secret; None: it was used as it is, and no service takes the encodings."""


class Leakage(Answer):
    """What was measured, on a sample, of what encodings give away to whoever holds them. Shares are 0 to 1."""

    sample: int
    reidentified_50: float
    reidentified_300: float
    edge_overlap: float
    rank_correlation: float
    probe_auc: float
    fill: float


class Manifest(Answer):
    """What a provider declares about its encodings before it sends them (the content of manifest.json)."""

    version: Literal[1] = 1
    linkage_schema_sha256: str
    encoding_profile: str | None = None
    normalisation: str | None = None
    normalisation_sha256: str | None = None
    encoder: Encoder
    count: int
    bits: int
    size_bytes: int
    sha256: str
    key: KeyReference
    completeness: dict[str, float]
    validity: dict[str, float] | None = None
    leakage: Leakage | None = None
    opt_outs_applied_at: datetime | None = None


class UploadFinding(Answer):
    """Something about an upload that should be looked at; its provider and the linkage unit's officers see it."""

    code: str
    message: str = ""


class Upload(Answer):
    """One provider's encodings for one project."""

    id: str
    project: str
    organisation: str
    state: str
    findings: list[UploadFinding] = []
    manifest: Manifest
    size_bytes: int
    part_size_bytes: int
    parts_expected: int
    parts_received: list[int]
    created_at: datetime
    completed_at: datetime | None = None
    key_epoch: int | None = None
    usable: bool = True
    """False once the key epoch that it was encoded in is closed."""
    unusable_because: str | None = None


class UploadSummary(Answer):
    """What every party of a project may know of an upload."""

    id: str
    project: str
    organisation: str
    state: str
    count: int | None = None
    sha256: str | None = None
    findings: list[UploadFinding] | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    key_epoch: int | None = None
    usable: bool = True
    """False once the key epoch that it was encoded in is closed."""
    unusable_because: str | None = None


class RunUpload(Answer):
    """An upload as a run used it; `count` is its number of rows."""

    id: str
    organisation: str
    count: int


class RunProgress(Answer):
    """How far a run is: `done` of `total` units of the named phase."""

    phase: str | None = None
    done: int = 0
    total: int | None = None


class RunMetrics(Answer):
    """How much work a finished run was; what it found is in its summary."""

    pairs_compared: int | None = None
    seconds: float | None = None


class Aim(Answer):
    """What decides where a run cuts: "best_f1" (no value), "target_precision" or "threshold" (a share in 0..1)."""

    kind: str
    value: float | None = None


class Finding(Answer):
    """Something a run noticed that changes how its result is to be read: what it means and what to do."""

    code: str
    organisations: list[str] = []
    message: str = ""


class Run(Answer):
    """One execution of the matcher on a project's uploads. `threshold` is set where `aim` is a fixed one."""

    id: str
    project: str
    state: str
    threshold: float | None = None
    aim: Aim | None = None
    blocking: bool = False
    findings: list[Finding] = []
    uploads: list[RunUpload] = []
    progress: RunProgress | None = None
    attempt: int = 0
    error: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    metrics: RunMetrics | None = None

    @property
    def ended(self) -> bool:
        """Whether the state can no longer change."""
        return self.state in {"succeeded", "failed", "cancelled", "deleted"}


class OverlapPattern(Answer):
    """How many groups have rows of exactly these organisations; None where the count is suppressed."""

    organisations: list[str]
    groups: int | None


class Summary(Answer):
    """Rounded and suppressed counts of a run, by overlap pattern."""

    run: str
    patterns: list[OverlapPattern]
    precision: float | None = None
    recall: float | None = None
    rounded_to: int
    suppressed_below: int


class MatchEstimate(Answer):
    """How many matches there are, estimated without labels, and the interval that holds the truth nine times in ten."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None


class ScoreHistogram(Answer):
    """One-to-one pairs by score, and how many non-matches are expected among them; None where suppressed.

    `edges` has one entry more than the two others. Bins may be of unequal widths.
    """

    edges: list[float] = []
    pairs: list[int | None] = []
    expected_non_matches: list[float | None] = []


class CurvePoint(Answer):
    """What a cut at `score` would give: links, and the expected precision, recall and F1, in 0..1."""

    score: float
    probability: float | None = None
    links: int | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class Cut(Answer):
    """From where on pairs are linked: score, and match probability in 0..1 where there are probabilities."""

    score: float | None = None
    probability: float | None = None


class ReportComparison(Answer):
    """Two organisations of a run, compared with each other (or one with itself, where duplicates are looked for)."""

    organisations: list[str]
    floor: float | None = None
    density_ranks: list[int] = []
    histogram: ScoreHistogram = ScoreHistogram()
    curve: list[CurvePoint] = []
    cut: Cut | None = None
    links: int | None = None
    matches: MatchEstimate | None = None


class ReportResult(Answer):
    """The run as a whole. Precision, recall and F1 are expectations in 0..1; None where they cannot be estimated."""

    groups: int | None = None
    links: int | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    matches: MatchEstimate | None = None


class GroupProbabilities(Answer):
    """Groups by the lowest and by the mean match probability of their pairs; None where suppressed."""

    edges: list[float] = []
    lowest: list[int | None] = []
    mean: list[int | None] = []


class ReportBlocking(Answer):
    """How pairs were chosen for comparison; `kept_at_least` is a bound on the share of matches that were."""

    tables: int | None = None
    bits: int | None = None
    distance: float | None = None
    kept_at_least: float | None = None


class RunReport(Answer):
    """What a run found and how far to trust it. Counts are rounded, and None where suppressed.

    `calibrated` says whether there are probabilities; None where that would give a suppressed count away.
    """

    run: str
    aim: Aim | None = None
    similarity: str = ""
    calibrated: bool | None = None
    findings: list[Finding] = []
    comparisons: list[ReportComparison] = []
    result: ReportResult = ReportResult()
    group_probabilities: GroupProbabilities | None = None
    patterns: list[OverlapPattern] = []
    blocking: ReportBlocking | None = None
    pairs_compared: int | None = None
    rounded_to: int = 1
    suppressed_below: int = 1


class Release(Answer):
    """The decision that lets the link tables of a run go to one recipient."""

    id: str
    run: str
    project: str
    recipient: str
    purpose: str
    mode: str
    columns: list[str]
    state: str
    delete_by: datetime | None = None
    created_at: datetime


class Disclosure(Answer):
    """One retrieval of a link table. Who read summaries and reports is in the ledger."""

    id: str
    release: str | None = None
    recipient: str | None = None
    provider: str | None = None
    kind: str = "link_table"
    rows: int | None = None
    at: datetime


class LedgerEvent(Answer):
    """One leaf of the ledger. `header` is what was hashed; what it holds depends on the type of the event."""

    seq: int
    leaf_hash: str
    header: dict[str, Any]


class LedgerEventDetail(LedgerEvent):
    """One leaf of the ledger with its body: names of staff, reasons, and the facts that were judged.

    `body_state` is "held", "none" for an event without a body, "disposed" at the end of its retention, or "not_shown":
    bodies are for officers, of the linkage unit or of the organisation that acted.
    """

    body: dict[str, Any] | None = None
    body_state: str = "none"


class PolicyAnswer(Answer):
    """What the policy answered, and by which of its policies."""

    allowed: bool
    policies: list[str]


class Replay(Answer):
    """A recorded decision beside the same one made again, from the facts and by the policy text of then.

    Where `agrees` is false the log or the engine is not what it was.
    """

    seq: int
    recorded: PolicyAnswer
    replayed: PolicyAnswer
    agrees: bool
    policy_digest: str
    policy_is_current: bool


class Alarm(Answer):
    """Something that an officer should look at. `seq` is its event in the ledger, `detail` what it rests on."""

    id: str
    kind: str
    meaning: str
    raised_at: datetime
    seq: int
    organisation: str | None = None
    actor: str | None = None
    agreement: str | None = None
    project: str | None = None
    subject: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


class LedgerExport(Answer):
    """An export of the ledger that was written to a file. `ledger_event` is the event that says so."""

    file: str
    size_bytes: int


class VerifierKey(Answer):
    """The key with which checkpoints are checked, as a C2SP note verifier key.

    `handovers` are the signed notes by which it came from earlier keys, oldest first (`linkage_ledger.handover`).
    """

    origin: str
    key: str
    handovers: list[str] = []


class Inclusion(Answer):
    """Proof (RFC 6962 section 2.1.1) that the event `seq` is in the log of `size` leaves; base64 hashes."""

    seq: int
    size: int
    proof: list[str]


class LogWitness(Answer):
    """A witness of the log, and the greatest size that it cosigned."""

    name: str
    key: str
    size: int | None = None
    cosigned_at: datetime | None = None


class LogWitnesses(Answer):
    """Who vouches for the log: `quorum` of `witnesses` have to cosign; `policy` says so as a C2SP tlog-policy."""

    quorum: int
    satisfied: bool
    size: int
    witnessed_size: int | None = None
    lacking_since: datetime | None = None
    witnesses: list[LogWitness]
    policy: str


class Consistency(Answer):
    """Proof (RFC 6962 section 2.1.2) that the log of `second` leaves continues the log of `first`; base64 hashes."""

    first: int
    second: int
    proof: list[str]


class Withdrawal(Answer):
    """Rows that a provider took back: "pending" until encodings and results are without them, then "applied"."""

    id: str
    upload: str
    rows: int
    reason: str
    state: str
    created_at: datetime
    applied_at: datetime | None = None


class WithdrawnLink(Answer):
    """A link id under which a recipient may hold something from this provider that it has to delete."""

    link_id: str = Field(pattern=r"^[a-z2-7]{26}$")
    provider: str = Field(pattern=r"^org_[0-9a-hjkmnp-tv-z]{26}$")
    withdrawn_at: datetime


class WithdrawnLinks(Answer):
    """Every withdrawn link id of a release."""

    release: str
    items: list[WithdrawnLink] = []


class TracedRelease(Answer):
    """A release whose link table held the row; not `certain` for a matched table whose result was deleted since."""

    release: str
    recipient: str
    purpose: str
    mode: str
    retrieved: list[datetime] = []
    certain: bool = True


class Trace(Answer):
    """Who received anything made from a row."""

    upload: str
    withdrawn: bool = False
    releases: list[TracedRelease] = []


class Hold(Answer):
    """A restriction of processing on a run or a release. Overdue: it is past its date, and kept because of the hold."""

    id: str
    project: str
    kind: str
    object: str
    ground: str
    placed_at: datetime
    delete_by: datetime | None = None
    overdue: bool = False


class CertificateSummary(Answer):
    """A certificate in a list."""

    id: str
    project: str
    items: int
    created_at: datetime


class Certificate(CertificateSummary):
    """A certificate of disposal; `note` is the document as it was signed."""

    document: dict[str, Any]
    note: str
