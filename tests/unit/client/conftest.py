from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keyring.core
import pytest
import stamina

from linkage_client import cli as command
from linkage_client._authentication import Clock, Credentials
from linkage_client._protocol import Limits
from linkage_client._transport import Transport
from linkage_client.client import LinkageClient
from linkage_client.config import CONFIG_VARIABLE, PROFILE_VARIABLE, Profile, save_profile
from linkage_client.keys import SigningKey
from linkage_client.keystore import TRUSTED_BACKENDS
from support.command import Linkage, Outcome
from support.fake_service import OWN, FakeService
from support.keystores import MemoryKeyring


@dataclass
class HandClock:
    """Time that passes only when somebody sleeps or a test moves it."""

    seconds: float = 1_000_000.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(now=self.now, monotonic=self.now, sleep=self.sleep)


@pytest.fixture(autouse=True)
def _retries_do_not_wait() -> Iterator[None]:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


@pytest.fixture(autouse=True)
def _own_configuration_and_keystore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests keeps profiles and keystore to themselves."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    for variable in (CONFIG_VARIABLE, PROFILE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def memory_keyring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    """The operating system's keystore, as far as this test knows."""
    made = MemoryKeyring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", made)
    monkeypatch.setitem(cast("dict[str, str]", TRUSTED_BACKENDS), MemoryKeyring.__module__, "Test keystore")
    return made


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client_key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def client(service: FakeService, hand_clock: HandClock, client_key: SigningKey) -> Iterator[LinkageClient]:
    url = "https://service.example"
    transport = Transport(
        url,
        credentials=Credentials(client_id="cli_1", client_key=client_key),
        limits=Limits(attempts=4),
        clock=hand_clock.clock(),
        http_transport=service.transport(),
    )
    with LinkageClient(service_url=url, transport=transport) as made:
        yield made


@pytest.fixture
def url(service: FakeService) -> Iterator[str]:
    with service.on_loopback() as address:
        yield address


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "configuration" / "profile.toml"


@pytest.fixture
def registered(config: Path, url: str, service: FakeService) -> Path:
    config.parent.mkdir()
    client_key, signing_key = config.parent / "client-key.jwk", config.parent / "signing-key.jwk"
    SigningKey.generate().save(client_key)
    service.signing_key.save(signing_key)
    save_profile(
        Profile(
            path=config,
            service_url=url,
            organisation_id=OWN,
            client_id="cli_1",
            client_key_file=client_key,
            signing_key_file=signing_key,
        )
    )
    return config


@pytest.fixture
def linkage(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Linkage:
    monkeypatch.setenv("LINKAGE_CONFIG", str(config))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*arguments: str | Path) -> Outcome:
        code = command.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
