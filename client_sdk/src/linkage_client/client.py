"""The SDK: one object for one service, with the service's nouns as attributes.

    with LinkageClient(service_url="https://linkage.example.org", client_id="cli_…", client_key=key) as client:
        for project in client.projects.list():
            ...
        upload = client.uploads.send(project_id=project.id, manifest=manifest, encodings=path)
        run = client.runs.wait(run_id=client.runs.start(project_id=project.id).id)

Every call retries what is safe to retry and raises an error of `linkage_client.errors` with the request id in it.
"""

from pathlib import Path
from typing import Literal, Self

from linkage_client._authentication import Clock, Credentials
from linkage_client._protocol import Limits, path_of
from linkage_client._transport import Transport
from linkage_client.config import Profile
from linkage_client.errors import ConfigurationError
from linkage_client.keys import SigningKey
from linkage_client.keystore import client_key_of
from linkage_client.models import Me, ServiceVersion
from linkage_client.resources._base import parsed
from linkage_client.resources.agreements import Agreements
from linkage_client.resources.audit import Audit
from linkage_client.resources.keys import Keys
from linkage_client.resources.organisations import Organisations
from linkage_client.resources.projects import Projects
from linkage_client.resources.releases import Releases
from linkage_client.resources.retention import Retention
from linkage_client.resources.rights import Rights
from linkage_client.resources.runs import Runs
from linkage_client.resources.uploads import Uploads
from linkage_client.watching import default_folder


class LinkageClient:
    """A connection to one service; may be used from several threads, and as a context manager.

    Without `client_id` and `client_key` it can only do what is public: register.
    """

    def __init__(
        self,
        *,
        service_url: str,
        client_id: str | None = None,
        client_key: SigningKey | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
        transport: Transport | None = None,
        ledgers_folder: Path | Literal["default"] | None = "default",
        log_key: str | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            service_url: https, or http to this machine only.
            client_id: what the registration answered.
            client_key: the client key that was registered.
            limits: time limits and attempts.
            clock: where time comes from.
            ca_file: trust only these certificates instead of the operating system's.
            allow_plain_http: for closed test networks.
            transport: used instead of one made from the other arguments.
            ledgers_folder: where to remember what was seen of ledgers; by default a folder of the user's. A client is a
                witness: before it asks anything else, it checks that the service's ledger continues what it saw last,
                and raises LedgerAlarmError otherwise. None: it does not.
            log_key: verifier key of the service's ledger, as its operator published it. Without it the first one shown
                is believed.
        """
        if (client_id is None) != (client_key is None):
            raise ConfigurationError("client_id and client_key belong together: give both or neither.")
        credentials = (
            Credentials(client_id=client_id, client_key=client_key)
            if client_id is not None and client_key is not None
            else None
        )
        self.profile: Profile | None = None
        """Whose connection it is: what this profile knows is held against what the service says."""
        self._transport = transport or Transport(
            service_url,
            credentials=credentials,
            limits=limits,
            clock=clock,
            ca_file=ca_file,
            allow_plain_http=allow_plain_http,
            ledgers_folder=default_folder() if ledgers_folder == "default" else ledgers_folder,
            log_key=log_key,
        )
        self.organisations = Organisations(self._transport)
        self.agreements = Agreements(self._transport)
        self.projects = Projects(self._transport)
        self.keys = Keys(self._transport)
        self.uploads = Uploads(self._transport)
        self.runs = Runs(self._transport)
        self.releases = Releases(self._transport)
        self.rights = Rights(self._transport)
        self.retention = Retention(self._transport)
        self.audit = Audit(self._transport)

    @classmethod
    def from_profile(cls, profile: Profile, *, ledgers_folder: Path | Literal["default"] | None = "default") -> Self:
        """A client from a profile (`linkage_client.config`), with the client key from where it is kept."""
        client = cls(
            service_url=profile.service_url,
            client_id=profile.client_id,
            client_key=client_key_of(profile),
            ca_file=profile.ca_file,
            allow_plain_http=profile.allow_plain_http,
            ledgers_folder=ledgers_folder,
            log_key=profile.log_key,
        )
        client.profile = profile
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def log_origin(self) -> str | None:
        """Name of the service's ledger, once this session looked at it; None where it is not watched."""
        return self._transport.log_origin

    def version(self) -> ServiceVersion:
        """Which service, of which version, is at the address. Needs no log-in."""
        return parsed(self._transport.send("GET", "/version", public=True), ServiceVersion)

    def me(self) -> Me:
        """The caller, as the service knows it."""
        return parsed(self._transport.send("GET", path_of("me")), Me)
