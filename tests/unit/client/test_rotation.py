"""The key of a machine is rotated so that, wherever it breaks, a key is kept here that the service takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from linkage_client._authentication import Credentials
from linkage_client._protocol import Limits
from linkage_client._transport import Transport
from linkage_client.client import LinkageClient
from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.errors import ConfigurationError, LinkageClientError, ServiceError
from linkage_client.keys import SigningKey, thumbprint
from linkage_client.keystore import client_key_of, keystore_of, store_key
from linkage_client.rotation import PENDING_FILE, rotate_client_key
from support.fake_service import Asked, FakeService, Reply, key, problem

URL = "https://service.example"
KEYS = "/v1/organisations/org_own/clients/cli_1/keys"


class Broken(LinkageClientError):
    """What stands for a power cut."""


@dataclass
class Machine:
    """A machine with a profile, at a service that knows its keys and answers only to those that are good."""

    profile: Profile
    service: FakeService
    keys: dict[str, str]

    def connect(self, profile: Profile) -> LinkageClient:
        signed_with = client_key_of(profile)
        if self.keys.get(signed_with.thumbprint) != "active":
            raise AssertionError("the key that is used is not good at the service")
        credentials = Credentials(client_id="cli_1", client_key=signed_with)
        transport = Transport(
            URL, credentials=credentials, limits=Limits(attempts=1), http_transport=self.service.transport()
        )
        return LinkageClient(service_url=URL, transport=transport)

    def rotate(self) -> str:
        self.profile = rotate_client_key(load_profile(self.profile.path), connect=self.connect).profile
        return client_key_of(self.profile).thumbprint

    def usable(self) -> bool:
        """Whether the profile, as it lies on the disk, names a key that the service takes."""
        return self.keys.get(client_key_of(load_profile(self.profile.path)).thumbprint) == "active"


def _machine(folder: Path, service: FakeService, *, in_keystore: bool) -> Machine:
    first = SigningKey.generate()
    profile = Profile(path=folder / "profile.toml", service_url=URL, organisation_id="org_own", client_id="cli_1")
    if in_keystore:
        keystore = keystore_of("os")
        assert keystore is not None
        profile = replace(profile, keystore="os", client_key=store_key(keystore, first))
    else:
        first.save(folder / "client-key.jwk")
        profile = replace(profile, client_key_file=folder / "client-key.jwk")
    save_profile(profile)
    keys = {first.thumbprint: "active"}

    def add(asked: Asked) -> Reply:
        made = thumbprint(asked.json()["jwk"])
        keys[made] = "active"
        service.on("DELETE", f"{KEYS}/{made}", lambda _: revoke(made))
        return Reply(201, key(made))

    def revoke(revoked: str) -> Reply:
        keys[revoked] = "revoked"
        return Reply(204)

    def listed(_: Asked) -> Reply:
        items = [key(one, status=status) for one, status in keys.items()]
        return Reply(content={"items": items, "next_cursor": None})

    service.on("DELETE", f"{KEYS}/{first.thumbprint}", lambda _: revoke(first.thumbprint))
    service.on("POST", KEYS, add)
    service.on("GET", KEYS, listed)
    return Machine(profile, service, keys)


@pytest.fixture(params=[False, True], ids=["file", "keystore"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, service: FakeService) -> Machine:
    if request.param:
        request.getfixturevalue("memory_keyring")
    return _machine(tmp_path, service, in_keystore=request.param)


def test_rotation_leaves_one_good_key_and_no_trace_of_the_old(machine: Machine, tmp_path: Path) -> None:
    (old,) = machine.keys
    new = machine.rotate()
    assert machine.keys == {old: "revoked", new: "active"}
    assert machine.usable()
    assert not (tmp_path / PENDING_FILE).exists()
    assert [file for file in tmp_path.glob("*.jwk") if SigningKey.load(file).thumbprint == old] == []


def test_key_can_be_rotated_again_and_again(machine: Machine) -> None:
    seen = {machine.rotate() for _ in range(3)}
    assert len(seen) == 3
    assert list(machine.keys.values()) == ["revoked", "revoked", "revoked", "active"]


def _refuse(machine: Machine, method: str, path: str, *, after: bool) -> Callable[[], None]:
    """Makes the service break down at a request, before or after it has done it; gives how it is mended."""
    handler = machine.service.routes[method, path]

    def break_down(asked: Asked) -> Reply:
        if after:
            handler(asked)
        return problem(500, "internal_error")

    machine.service.on(method, path, break_down)
    return lambda: machine.service.on(method, path, handler)


@pytest.mark.parametrize("after", [False, True], ids=["before it is done", "after it is done"])
@pytest.mark.parametrize("step", ["register", "list", "revoke"])
def test_rotation_that_breaks_leaves_a_usable_key_and_goes_on(machine: Machine, step: str, *, after: bool) -> None:
    (old,) = machine.keys
    method, path = {"register": ("POST", KEYS), "list": ("GET", KEYS), "revoke": ("DELETE", f"{KEYS}/{old}")}[step]
    mend = _refuse(machine, method, path, after=after)
    with pytest.raises(ServiceError):
        machine.rotate()
    assert machine.usable()
    mend()
    new = machine.rotate()
    assert machine.keys == {old: "revoked", new: "active"}
    assert machine.usable()


@pytest.mark.parametrize("target", ["save_profile", "store", "forget"])
def test_rotation_cut_off_on_this_machine_leaves_a_usable_key_and_goes_on(
    machine: Machine, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise Broken("The power is gone.")

    in_keystore = machine.profile.client_key is not None
    with monkeypatch.context() as patch:
        if target == "save_profile":
            patch.setattr("linkage_client.rotation.save_profile", cut)
        elif target == "store":
            place = "linkage_client.rotation.store_key" if in_keystore else "linkage_client.keys.SigningKey.save"
            patch.setattr(place, cut)
        else:
            patch.setattr("linkage_client.rotation._forget", cut)
        with pytest.raises(Broken):
            machine.rotate()
    assert machine.usable()
    new = machine.rotate()
    assert machine.usable()
    assert [status for name, status in machine.keys.items() if name != new] == ["revoked"]


def test_rotation_that_the_service_refuses_goes_on_with_the_old_key(machine: Machine) -> None:
    machine.service.on("POST", KEYS, problem(409, "conflict"))
    with pytest.raises(LinkageClientError):
        machine.rotate()
    assert machine.usable()


def test_key_that_another_profile_uses_is_not_rotated(machine: Machine, tmp_path: Path) -> None:
    other = replace(machine.profile, path=tmp_path / "other.toml")
    with pytest.raises(ConfigurationError, match="same client key"):
        rotate_client_key(machine.profile, others=[other], connect=machine.connect)
    assert list(machine.keys.values()) == ["active"]
