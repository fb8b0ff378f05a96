"""The only reader of the environment: every setting of the service, with its default and its meaning."""

from dataclasses import dataclass
from datetime import datetime, time
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from linkage_ledger.cosignatures import WitnessKey, WitnessPolicy

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


Risk = Literal[
    "plain_http",
    "unknown_proxy",
    "unbound_tokens",
    "keys_beside_blobs",
    "readable_keys",
    "sqlite_shared",
    "database_in_clear",
]
"""What a service that others can reach is not started with, unless its operator accepts it; see `safety`."""


def host_of(address: str) -> str:
    """The host of an address in lower case; empty where it has none, or is no address."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def is_here(address: str) -> bool:
    """Whether an address lies on this machine, as far as can be told without asking the network."""
    host = host_of(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class WitnessSetting(BaseModel):
    """A witness of the log: its verifier key, which bears its name, and where it answers `add-checkpoint`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    url: str

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        WitnessKey.parse(self.key)
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ValueError("the url of a witness is https://host/path, without user, password or query")
        if parts.scheme == "http" and not is_here(self.url):
            raise ValueError("the url of a witness starts with https://; http:// is for one on this machine only")
        return self

    @property
    def verifier(self) -> WitnessKey:
        """The key."""
        return WitnessKey.parse(self.key)


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """Hours of days of the week in a time zone."""

    days: frozenset[int]
    opens: time
    closes: time
    timezone: ZoneInfo

    def include(self, moment: datetime) -> bool:
        """Whether a moment lies within them."""
        local = moment.astimezone(self.timezone)
        return local.weekday() in self.days and self.opens <= local.time() < self.closes


def hours_of(text: str) -> WorkingHours:
    """Reads hours such as `mon-fri 07:00-19:00 Europe/London`.

    Raises:
        ValueError: they are written in another way.
    """
    try:
        days, times, zone = text.split(" ")
        first, last = (_DAYS.index(day) for day in (days.split("-") if "-" in days else (days, days)))
        opens, closes = (time.fromisoformat(clock) for clock in times.split("-"))
        found = WorkingHours(frozenset(range(first, last + 1)), opens, closes, ZoneInfo(zone))
    except (ValueError, ZoneInfoNotFoundError):
        raise ValueError("hours are written as mon-fri 07:00-19:00 Europe/London") from None
    if not found.days or not found.opens < found.closes:
        raise ValueError("the first day and time come before the last")
    return found


class Settings(BaseSettings):
    """Settings, read from `LINKAGE_*` variables; the command line overrides some of them."""

    model_config = SettingsConfigDict(env_prefix="LINKAGE_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("linkage-data"), description="Folder of the database, blobs and keys unless those are set apart."
    )
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL; default: linkage.db in the data folder (SQLite)."
    )
    blob_url: str | None = Field(
        default=None,
        description="Where encrypted blobs live: file://, s3://, gs://, az://; default: data folder/blobs.",
    )
    keys_dir: Path | None = Field(
        default=None, description="Folder of the service's own keys (log, tokens, link ids, encryption at rest)."
    )
    issuer: str | None = Field(
        default=None,
        description="Issuer string of access tokens and audience of assertions; default: the address bound.",
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description='Reverse proxies whose X-Forwarded-For says where a request comes from; JSON: ["10.0.0.5"].',
    )
    log_origin: str | None = Field(
        default=None,
        description="Name of the log in checkpoints, a schema-less URL; default: linkage.local/ and a random name.",
    )
    fallback_threshold: float = Field(
        default=0.7, ge=0.1, le=1, description="Dice threshold of runs with too few records to calibrate."
    )
    executor: Literal["local", "dask"] = Field(
        default="local", description="Who compares: threads of the worker process, or a Dask cluster."
    )
    scheduler: str | None = Field(
        default=None,
        pattern=r"^(tls|tcp)://[^\s/@]+:[0-9]{1,5}$",
        description="Address of the Dask scheduler, tls://host:port; tcp:// on this machine only.",
    )
    scheduler_ca: Path | None = Field(
        default=None, description="PEM file of the authority that signed the certificates inside the cluster."
    )
    scheduler_certificate: Path | None = Field(
        default=None, description="PEM file of this service's certificate for the cluster."
    )
    scheduler_key: Path | None = Field(default=None, description="PEM file of that certificate's private key.")
    access_token_s: int = Field(default=300, ge=30, le=3600, description="Life of an access token, seconds.")
    assertion_s: int = Field(default=300, ge=30, le=300, description="Longest life of a client assertion, seconds.")
    require_dpop: bool = Field(
        default=True, description="Whether access tokens are bound to a key of the caller (DPoP, RFC 9449)."
    )
    invitation_days: int = Field(default=14, ge=1, le=90, description="Life of an organisation's invitation.")
    person_invitation_hours: int = Field(
        default=72, ge=1, le=336, description="Life of a person's one-time link, hours."
    )
    password_memory_kib: int = Field(
        default=65536, ge=8, le=2**21, description="Argon2id memory of one password hash, KiB (RFC 9106)."
    )
    password_passes: int = Field(default=3, ge=1, le=16, description="Argon2id passes of one password hash.")
    password_lanes: int = Field(default=4, ge=1, le=16, description="Argon2id lanes of one password hash.")
    session_idle_s: int = Field(
        default=1800, ge=120, le=43200, description="A session that is not used for so long ends, seconds."
    )
    session_s: int = Field(default=43200, ge=120, le=86400, description="Longest life of a session, seconds.")
    step_up_s: int = Field(
        default=300, ge=30, le=3600, description="A second factor given again counts for so long, seconds."
    )
    sign_in_attempts: int = Field(
        default=5, ge=1, le=100, description="Failed attempts after which an account has to wait."
    )
    sign_in_wait_s: int = Field(
        default=30, ge=1, le=3600, description="First wait of an account, seconds; it doubles up to an hour."
    )
    sign_in_answer_s: float = Field(
        default=0.5,
        ge=0,
        le=10,
        description="A refused sign-in is answered no sooner, so that the time says nothing; seconds.",
    )
    oidc_issuer: str | None = Field(
        default=None, description="Issuer of an OpenID provider with which people may sign in; https."
    )
    oidc_client_id: str | None = Field(default=None, description="This service's client id at that provider.")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="This service's client secret at that provider."
    )
    oidc_redirect_path: str = Field(
        default="/sign-in/oidc",
        pattern=r"^/[A-Za-z0-9/_-]*$",
        description="Page to which that provider sends people back.",
    )
    oidc_acr: frozenset[str] = Field(
        default=frozenset(),
        description='Values of acr that mean a second factor at that provider, besides amr mfa, otp, hwk; JSON: ["…"].',
    )
    checkpoint_s: float = Field(
        default=60, gt=0, description="A grown log gets a signed checkpoint this often, seconds."
    )
    witnesses: tuple[WitnessSetting, ...] = Field(
        default=(),
        description='Witnesses that are asked to cosign checkpoints (C2SP tlog-witness); JSON: [{"key", "url"}].',
    )
    witness_quorum: int | None = Field(
        default=None,
        ge=0,
        description="So many of them have to cosign a checkpoint; default: more than half. 0 asks for none.",
    )
    witness_answer_s: float = Field(
        default=10, gt=0, le=60, description="A witness that has not answered after so long is left out, seconds."
    )
    witness_alarm_s: int = Field(
        default=3600, ge=1, description="A quorum that is missing for longer than this is an alarm, seconds."
    )
    lease_s: float = Field(default=30, gt=0, description="A worker that is silent for so long loses its run, seconds.")
    retention_s: float = Field(default=60, gt=0, description="What is past its date is looked for this often, seconds.")
    audit_bodies_days: int = Field(
        default=3650, ge=1, description="Details of ledger events under no agreement are kept so long, days."
    )
    audit_export_hours: str = Field(
        default="mon-fri 07:00-19:00 Europe/London",
        description=(
            "When exports of the log are expected, unless the exporter's agreements set hours; others raise an alarm. "
            "Days, times and zone as in the default."
        ),
    )
    poll_s: float = Field(default=0.2, gt=0, description="An idle worker looks for a run this often, seconds.")
    part_bytes_max: int = Field(default=16 * 2**20, ge=2**16, description="Largest part of an upload, bytes.")
    upload_bytes_max: int = Field(default=8 * 2**30, description="Largest upload, bytes.")
    body_bytes_max: int = Field(default=2 * 2**20, description="Largest JSON body, bytes.")
    console: bool = Field(
        default=True, description="Whether serve shows the console at /console, where linkage-console is installed."
    )
    api_processes: int = Field(
        default=1,
        ge=1,
        le=1000,
        description=(
            "Processes that share the requests, on all machines together; each takes its share of the rates. Default: "
            "what serve --processes says, else 1."
        ),
    )
    rate_per_caller: float = Field(
        default=50, ge=0, description="Requests a second of one client or person, four seconds' worth at once; 0: all."
    )
    rate_per_address: float = Field(
        default=200, ge=0, description="Requests a second from one address, whoever sends them; 0: all."
    )
    rate_public: float = Field(
        default=10, ge=0, description="Requests a second from one address for tokens, sessions and the like; 0: all."
    )
    hosts: frozenset[str] = Field(
        default=frozenset(),
        description='Hosts that requests may name besides that of the issuer and this machine; JSON: ["a.example"].',
    )
    parts_at_once: int = Field(
        default=32, ge=1, description="Parts of uploads that a process takes at once; each is kept in memory."
    )
    parts_at_once_per_organisation: int = Field(
        default=8, ge=1, description="Parts of uploads that a process takes of one organisation at once."
    )
    uploads_open_max: int = Field(
        default=20, ge=1, description="Uploads that an organisation may have begun and not completed."
    )
    upload_quota_bytes: int = Field(
        default=64 * 2**30, ge=1, description="Bytes of all uploads of an organisation that are not deleted."
    )
    slow_header_s: float = Field(
        default=20, gt=0, le=600, description="Who has not sent the whole head of a request by then is hung up on."
    )
    slow_body_s: float = Field(
        default=30, gt=0, le=600, description="A body of which nothing has come for so long is given up, seconds."
    )
    slow_part_bytes_per_s: int = Field(
        default=2**16, ge=2**12, description="A part of an upload that comes slower is given up, bytes a second."
    )
    development: bool = Field(
        default=False, description="Whether the service may start although it is not safe to be reached by others."
    )
    accepted_risks: frozenset[Risk] = Field(
        default=frozenset(), description='Risks by name with which it may start nevertheless; JSON: ["unbound_tokens"].'
    )
    metrics_listen: str | None = Field(
        default=None,
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/@]+):[0-9]{1,5}$",
        description="Address of a listener for GET /metrics alone, host:port; default: none.",
    )
    traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@]+$",
        description="Where traces are sent by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; default: none.",
    )
    traces_share: float = Field(default=1, ge=0, le=1, description="Share of traces that are kept, 0 to 1.")
    database_pool: int = Field(
        default=40, ge=1, le=1000, description="Connections to the database that a process keeps open."
    )
    database_overflow: int = Field(
        default=10, ge=0, le=1000, description="Further connections of a process for a short while."
    )
    log_level: str = Field(default="INFO", description="Lowest level of log lines on standard error.")
    key_encryption_key: SecretStr | None = Field(
        default=None, description="Base64 of 32 bytes that wrap the data keys; default: a file in the keys folder."
    )

    former_key_encryption_keys: tuple[SecretStr, ...] = Field(
        default=(), description='Earlier ones, which open what they wrapped until it is wrapped anew; JSON: ["…"].'
    )

    @field_validator("audit_export_hours")
    @classmethod
    def _hours_can_be_read(cls, text: str) -> str:
        hours_of(text)
        return text

    @model_validator(mode="after")
    def _cluster_has_an_address(self) -> Self:
        if self.executor == "dask" and self.scheduler is None:
            raise ValueError("executor dask needs the address of its scheduler, tls://host:port")
        given = [self.scheduler_ca, self.scheduler_certificate, self.scheduler_key]
        if self.executor == "dask" and any(given) is not all(given):
            raise ValueError("certificates for a scheduler are three files: scheduler_ca, _certificate and _key")
        if self.executor == "dask" and (self.scheduler or "").startswith("tls://") is not all(given):
            raise ValueError("a scheduler at tls:// needs certificates, and one at tcp:// takes none")
        if self.executor == "dask" and not all(given) and not is_here(self.scheduler or ""):
            raise ValueError(
                "the scheduler is given data keys, and whoever reaches it can run code: tcp:// is for this machine "
                "only. Elsewhere use tls:// with certificates"
            )
        if self.executor == "dask" and self.resolved_blob_url.startswith("memory:"):
            raise ValueError("executor dask needs a blob store that its workers can reach too")
        return self

    @model_validator(mode="after")
    def _witnesses_are_a_policy(self) -> Self:
        _ = self.witness_policy
        return self

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Self:
        given = [self.oidc_issuer, self.oidc_client_id, self.oidc_client_secret]
        if any(given) is not all(given):
            raise ValueError("an OpenID provider needs oidc_issuer, oidc_client_id and oidc_client_secret")
        issuer = self.oidc_issuer or "https://"
        if not issuer.startswith("https://") and not (issuer.startswith("http://") and is_here(issuer)):
            raise ValueError("oidc_issuer starts with https://; http:// is for a provider on this machine only")
        return self

    @property
    def witness_policy(self) -> WitnessPolicy:
        """How many of which witnesses have to cosign."""
        majority = len(self.witnesses) // 2 + 1 if self.witnesses else 0
        quorum = majority if self.witness_quorum is None else self.witness_quorum
        return WitnessPolicy(tuple(witness.verifier for witness in self.witnesses), quorum)

    @property
    def resolved_database_url(self) -> str:
        """The database in force."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'linkage.db').resolve()}"

    @property
    def resolved_blob_url(self) -> str:
        """The blob store in force."""
        return self.blob_url or (self.data_dir / "blobs").resolve().as_uri()

    @property
    def resolved_keys_dir(self) -> Path:
        """The folder of keys in force."""
        return self.keys_dir or self.data_dir / "keys"
