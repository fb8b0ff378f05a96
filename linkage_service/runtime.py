"""Everything a running service is made of, built once from its settings and handed down."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from linkage_service import service_keys
from linkage_service.access import policy_texts
from linkage_service.access.decide import Policy
from linkage_service.access.guard import Door
from linkage_service.access.tokens import TokenAuthority
from linkage_service.audit.alarms import policy_errors
from linkage_service.audit.checkpointing import Checkpointer
from linkage_service.audit.collecting import Collector, Witness
from linkage_service.audit.log import Log
from linkage_service.audit.tables import NEWEST_TIME
from linkage_service.clock import Clock, utc_now
from linkage_service.database import Database
from linkage_service.metrics import BlobFailure, Metrics
from linkage_service.organisations.service import load_client
from linkage_service.people.oidc import Provider
from linkage_service.people.passwords import Passwords
from linkage_service.people.reception import Reception
from linkage_service.people.service import SessionLimits, load_person, touch_session
from linkage_service.places import Places
from linkage_service.service_keys import ServiceKeys
from linkage_service.settings import Settings
from linkage_service.storage import BlobMissing, BlobStore, BlobTampered, StorageError, StorageFull
from linkage_service.throttle import Throttle
from linkage_service.tracing import NoTracing, Tracing


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one process of the service."""

    settings: Settings
    clock: Clock
    database: Database
    log: Log
    keys: ServiceKeys = field(repr=False)
    blobs: BlobStore = field(repr=False)
    door: Door
    reception: Reception
    checkpointer: Checkpointer
    metrics: Metrics
    tracing: Tracing

    def remember_policy(self) -> None:
        """Keeps the policy text that decides from now on, so that its decisions can be made again later."""
        policy_texts.remember(self.database, self.door.policy.text, now=self.clock())

    def close(self) -> None:
        """Closes what is open."""
        self.tracing.close()
        self.database.close()


def build(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    issuer: Callable[[], str] | None = None,
    tracing: Tracing | None = None,
) -> Runtime:
    """Opens database, keys and blob store.

    Raises:
        LinkageError: keys or storage cannot be used.
    """
    keys = service_keys.load(settings.resolved_keys_dir)
    places = Places()
    database = Database(
        settings.resolved_database_url,
        pool=settings.database_pool,
        overflow=settings.database_overflow,
        reads_first=NEWEST_TIME,
        before_turn=places.leave,
    )
    metrics = Metrics()
    log = Log(key=keys.log, keys=partial(service_keys.log_keys, settings.resolved_keys_dir), notice=policy_errors)
    blobs = BlobStore.from_url(
        settings.resolved_blob_url,
        key_encryption_keys=partial(key_encryption_keys, settings),
        noticed=lambda error: metrics.blob_failed(_kind_of(error)),
    )
    issuer = issuer or (lambda: settings.issuer or "http://127.0.0.1")
    door = Door(
        database=database,
        log=log,
        policy=Policy(),
        tokens=TokenAuthority(key=keys.token, life_s=settings.access_token_s),
        clock=clock,
        load_client=load_client,
        load_person=partial(
            load_person, limits=SessionLimits(idle_s=settings.session_idle_s, step_up_s=settings.step_up_s)
        ),
        touch_session=touch_session,
        issuer=issuer,
        require_dpop=settings.require_dpop,
        throttle=Throttle(settings, metrics),
        places=places,
    )
    reception = Reception(
        database=database,
        log=log,
        clock=clock,
        blobs=blobs,
        passwords=Passwords(
            memory_kib=settings.password_memory_kib, passes=settings.password_passes, lanes=settings.password_lanes
        ),
        settings=settings,
        issuer=issuer,
        provider=_provider(settings, issuer),
    )
    return Runtime(
        settings=settings,
        clock=clock,
        database=database,
        log=log,
        keys=keys,
        blobs=blobs,
        door=door,
        reception=reception,
        checkpointer=Checkpointer(
            database=database,
            log=log,
            collector=Collector(
                database=database,
                witnesses=[Witness(witness.verifier, f"{witness.url.rstrip('/')}/") for witness in settings.witnesses],
                answer_s=settings.witness_answer_s,
            ),
            every_s=settings.checkpoint_s,
        ),
        metrics=metrics,
        tracing=tracing or NoTracing(),
    )


def key_encryption_keys(settings: Settings) -> list[bytes]:
    """The keys that wrap data keys, the present one first: of the settings, else of the keys folder as it is now.

    Raises:
        KeysMissing: the folder's cannot be read.
    """
    configured = settings.key_encryption_key
    if configured is None:
        return service_keys.storage_keys(settings.resolved_keys_dir)
    return [base64.b64decode(key.get_secret_value()) for key in (configured, *settings.former_key_encryption_keys)]


def _kind_of(error: StorageError) -> BlobFailure:
    match error:
        case BlobMissing():
            return "absent"
        case BlobTampered():
            return "damaged"
        case StorageFull():
            return "full"
        case _:
            return "unavailable"


def _provider(settings: Settings, issuer: Callable[[], str]) -> Provider | None:
    secret = settings.oidc_client_secret
    if settings.oidc_issuer is None or settings.oidc_client_id is None or secret is None:
        return None
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret.get_secret_value(),
        redirect_uri=lambda: f"{issuer().rstrip('/')}{settings.oidc_redirect_path}",
        acr=settings.oidc_acr,
    )
