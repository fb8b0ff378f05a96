import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linkage_client._authentication import Clock
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.config import Places, Profile, load_profile, save_profile
from linkage_client.doctor import machine
from linkage_client.doctor.examine import Examination
from linkage_client.doctor.findings import Finding, Verdict
from linkage_client.doctor.network import Route, network_findings
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.storage import activate, forget_old, keep_new
from linkage_client.keys import SigningKey, document_digest
from linkage_client.keystore import Secrets, find_working_keystore
from support.certificates import served
from support.command import Linkage
from support.fake_service import CREATED, OWN, FakeService, Reply, client, manifest_of, me, problem, project
from support.keystores import MemoryKeyring
from support.linkage_schemas import linkage_schema

SECRET = b"0123456789abcdef0123456789abcdef"
EVERYTHING = [
    "configuration", "keys", "keystore", "service", "clock", "log-in", "ledger", "exchange keys", "disk", "versions",
    "crash files",
]  # fmt: skip


class Doctor:
    """An examination of what a test has set up; the last answer to each check."""

    def __init__(self, profile: Path, work: Path) -> None:
        self.profile = profile
        self.work = work

    def __call__(self, *, ahead_s: float = 0, **more: Any) -> dict[str, Finding]:
        home = self.work.parent
        places = Places(working_folder=self.work, user_folder=home / "user", home=home, environment={})
        clock = Clock(now=lambda: time.time() + ahead_s)
        return {
            finding.check: finding
            for finding in Examination(places=places, config=self.profile, clock=clock, **more).findings()
        }


@pytest.fixture
def doctor(registered: Path, tmp_path: Path) -> Doctor:
    work = tmp_path / "work"
    work.mkdir()
    return Doctor(registered, work)


@contextmanager
def _at(profile: Path, **members: Any) -> Iterator[None]:
    """The profile with other members."""
    before = load_profile(profile)
    shown = {name: getattr(before, name) for name in before.__slots__}
    save_profile(Profile(**{**shown, **members}), replace=True)
    yield


def test_doctor_of_a_healthy_client_finds_nothing(doctor: Doctor) -> None:
    found = doctor()
    assert list(found) == EVERYTHING
    assert {finding.verdict for finding in found.values()} <= {Verdict.OK, Verdict.LOOK}
    assert "Own, client laptop" in found["log-in"].detail
    assert "continues what this client saw: 1 events" in found["ledger"].detail


def _shown(service: FakeService, keys: ExchangeKeys) -> None:
    card = keys.card(OWN)
    answer = {"organisation": OWN, "digest": card.digest, "document": card.document, "published_at": CREATED}
    service.on("GET", f"/v1/organisations/{OWN}/key-card", answer)


def test_doctor_says_how_to_get_exchange_keys(doctor: Doctor) -> None:
    found = doctor()["exchange keys"]
    assert found.verdict is Verdict.LOOK
    assert "linkage keys init" in found.advice


def test_doctor_asks_nobody_but_analysts_for_exchange_keys(doctor: Doctor, service: FakeService) -> None:
    service.on("GET", "/v1/me", {**me(), "client": {**client(), "roles": ["recipient"]}})
    assert "exchange keys" not in doctor()


def test_doctor_compares_the_card_at_the_service_with_the_keys_here(doctor: Doctor, service: FakeService) -> None:
    profile = load_profile(doctor.profile)
    keys = keep_new(profile)
    assert "begun and not ended" in doctor()["exchange keys"].detail
    forget_old(activate(profile))
    assert "shows no card" in doctor()["exchange keys"].detail
    _shown(service, keys)
    assert doctor()["exchange keys"].verdict is Verdict.OK
    _shown(service, ExchangeKeys.generate())
    assert doctor()["exchange keys"].verdict is Verdict.FAILED


def test_doctor_does_not_ask_for_a_passphrase(doctor: Doctor, service: FakeService) -> None:
    profile = load_profile(doctor.profile)
    keys = keep_new(profile, passphrase="quince harbour ninety two")
    forget_old(activate(profile))
    _shown(service, keys)
    assert "passphrase" in doctor()["exchange keys"].detail


def test_doctor_without_a_profile_looks_at_the_rest(doctor: Doctor, tmp_path: Path) -> None:
    doctor.profile = tmp_path / "absent.toml"
    found = doctor()
    assert found["configuration"].verdict is Verdict.FAILED
    assert found["service"].verdict is Verdict.SKIPPED
    assert found["disk"].verdict is Verdict.OK


def test_doctor_finds_a_key_that_others_can_read(doctor: Doctor) -> None:
    (doctor.profile.parent / "client-key.jwk").chmod(0o644)
    found = doctor()
    assert found["keys"].verdict is Verdict.FAILED
    assert "chmod 600" in found["keys"].detail
    assert found["clock"].verdict is Verdict.OK
    assert found["log-in"].verdict is Verdict.SKIPPED


@pytest.mark.skipif(os.name != "posix", reason="modes of files are a matter of POSIX")
def test_doctor_finds_a_profile_that_others_can_change(doctor: Doctor) -> None:
    doctor.profile.chmod(0o666)
    assert doctor()["configuration"].verdict is Verdict.LOOK


def test_doctor_finds_a_linkage_toml_that_redirects(doctor: Doctor) -> None:
    (doctor.work / "linkage.toml").write_text('service_url = "https://evil.example"\n')
    assert doctor()["configuration"].verdict is Verdict.FAILED


def test_doctor_finds_a_closed_port(doctor: Doctor) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with _at(doctor.profile, service_url=f"http://127.0.0.1:{taken.getsockname()[1]}"):
            found = doctor()
    assert found["service"].verdict is Verdict.FAILED
    assert "Nothing answers" in found["service"].detail
    assert found["log-in"].verdict is Verdict.SKIPPED
    assert found["versions"].verdict is Verdict.OK


def test_doctor_finds_a_name_that_does_not_exist(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with _at(doctor.profile, service_url="https://linkage.invalid"):
        assert "is not known" in doctor()["service"].detail


@pytest.mark.parametrize(("ahead_s", "verdict"), [(3600, Verdict.FAILED), (-90, Verdict.FAILED), (40, Verdict.LOOK)])
def test_doctor_finds_a_clock_that_is_off(doctor: Doctor, ahead_s: float, verdict: Verdict) -> None:
    clock = doctor(ahead_s=ahead_s)["clock"]
    assert clock.verdict is verdict
    assert ("ahead of" if ahead_s > 0 else "behind") in clock.detail


def test_doctor_finds_something_else_at_the_address(doctor: Doctor, service: FakeService) -> None:
    service.on("GET", "/version", Reply(text=b"<html>log in to the network</html>"))
    assert doctor()["service"].verdict is Verdict.FAILED


def test_doctor_finds_a_client_that_was_shut_out(doctor: Doctor, service: FakeService) -> None:
    service.on("POST", "/v1/oauth/token", problem(401, "invalid_client"))
    assert doctor()["log-in"].verdict is Verdict.FAILED


def test_doctor_notices_another_version_of_the_service(doctor: Doctor, service: FakeService) -> None:
    service.on("GET", "/version", {"name": "linkage-service", "version": "7.2.0"})
    assert doctor()["versions"].verdict is Verdict.LOOK


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"starts_in_days": -30, "days": 10}, "has expired"),
        ({"starts_in_days": 5}, "not valid yet"),
        ({"address": "192.0.2.1"}, "for another name"),
    ],
)
def test_doctor_tells_what_is_wrong_with_a_certificate(
    doctor: Doctor, service: FakeService, tmp_path: Path, certificate: dict[str, Any], words: str
) -> None:
    made = served(tmp_path / "certificates", **certificate)
    with service.on_loopback(tls=made.context) as url, _at(doctor.profile, service_url=url, ca_file=made.ca_file):
        found = doctor()
    assert found["certificate"].verdict is Verdict.FAILED
    assert words in found["certificate"].detail
    assert found["log-in"].verdict is Verdict.SKIPPED


def test_doctor_does_not_trust_an_authority_that_is_not_named(
    doctor: Doctor, service: FakeService, tmp_path: Path
) -> None:
    made = served(tmp_path / "certificates")
    with service.on_loopback(tls=made.context) as url, _at(doctor.profile, service_url=url):
        certificate = doctor()["certificate"]
    assert "not trusted" in certificate.detail
    assert "ca_file" in certificate.advice


@pytest.mark.parametrize(("days", "verdict"), [(35, Verdict.LOOK), (90, Verdict.OK)])
def test_doctor_notices_a_certificate_that_soon_expires(
    doctor: Doctor, service: FakeService, tmp_path: Path, days: int, verdict: Verdict
) -> None:
    made = served(tmp_path / "certificates", days=days)
    with service.on_loopback(tls=made.context) as url, _at(doctor.profile, service_url=url, ca_file=made.ca_file):
        found = doctor()
    assert found["certificate"].verdict is verdict
    assert "Test authority" in found["certificate"].detail
    assert found["log-in"].verdict is Verdict.OK


def test_doctor_finds_a_port_that_does_not_speak_tls(doctor: Doctor, url: str) -> None:
    with _at(doctor.profile, service_url=url.replace("http:", "https:")):
        assert doctor()["certificate"].verdict is Verdict.FAILED


def test_route_goes_through_the_proxy_that_is_set_up_and_past_it_to_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:s%20t@proxy.example:3128")
    monkeypatch.setenv("https_proxy", "http://ann:s%20t@proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    route = Route.to("https://linkage.example")
    assert (route.first_host, route.first_port, route.port) == ("proxy.example", 3128, 443)
    assert "ann" not in route.first_name
    assert Route.to("https://127.0.0.1:8443").first_port == 8443
    monkeypatch.setenv("no_proxy", "linkage.example")
    assert Route.to("https://linkage.example").proxy is None


@contextmanager
def _tunnel(target: int) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that opens one tunnel, to a port of this machine whatever it is asked for."""
    asked: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listening.accept()
        with client, socket.create_connection(("127.0.0.1", target)) as service:
            asked.append(client.recv(65_536))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_relay, args=(service, client))
            back.start()
            _relay(client, service)
            back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://ann:pw@127.0.0.1:{listening.getsockname()[1]}", asked
    finally:
        thread.join()
        listening.close()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65_536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_certificate_is_looked_at_through_the_tunnel_of_a_proxy(
    doctor: Doctor, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = served(tmp_path / "certificates", address="192.0.2.7")
    profile = replace(load_profile(doctor.profile), service_url="https://192.0.2.7", ca_file=made.ca_file)
    with service.on_loopback(tls=made.context) as url, _tunnel(int(url.rpartition(":")[2])) as (proxy, asked):
        for variable in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(variable, proxy)
        found = list(network_findings(profile, now=time.time()))
    assert [(finding.check, finding.verdict) for finding in found] == [
        ("service", Verdict.OK),
        ("certificate", Verdict.OK),
    ]
    assert asked[0].startswith(b"CONNECT 192.0.2.7:443")
    assert b"Proxy-Authorization: Basic YW5uOnB3" in asked[0]


@pytest.fixture
def agreed(service: FakeService) -> Callable[..., None]:
    """Puts a project with a real linkage schema and its agreement into the service."""

    def put(*, profile: str | None = "clk-1024-v1", epoch: int = 1, digest: str | None = None) -> None:
        schema = linkage_schema()
        content = {**project(schema_digest=digest or document_digest(schema)), "linkage_schema": schema}
        service.on("GET", "/v1/projects/prj_1", {**content, "key_epoch": epoch})
        version = {"id": "agr_1", "reference": "ISP-1", "state": "active", "version": 1, "digest": "cd" * 32}
        document = {"security": {"encoding_profile": profile}}
        service.on(
            "GET",
            "/v1/agreements/agr_1/versions/1",
            {**version, "parties": [], "created_at": CREATED, "document": document, "signatures": []},
        )

    return put


def test_doctor_compares_what_is_here_with_the_project(
    doctor: Doctor, agreed: Callable[..., None], tmp_path: Path
) -> None:
    agreed()
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(linkage_schema()))
    encodings = tmp_path / "encoded"
    encodings.mkdir()
    manifest = manifest_of(bytes(384), schema_digest=document_digest(linkage_schema()))
    (encodings / "manifest.json").write_text(json.dumps(manifest))
    Secrets(load_profile(doctor.profile)).add("prj_1", 1, SECRET)
    found = doctor(project_id="prj_1", schema_file=schema, encodings=encodings)
    checks = ("project", "encoding profile", "linkage schema", "linkage secret", "encodings")
    assert {name: found[name].verdict for name in checks} == dict.fromkeys(checks, Verdict.OK)
    agreed(epoch=2)
    later = doctor(project_id="prj_1", schema_file=schema, encodings=encodings)
    assert later["linkage secret"].verdict is Verdict.LOOK
    assert "key epoch" in later["encodings"].detail


@pytest.mark.parametrize("derivation", [{}, {"derivation": None}])
def test_doctor_finds_encodings_that_no_service_takes(
    doctor: Doctor, agreed: Callable[..., None], tmp_path: Path, derivation: dict[str, None]
) -> None:
    agreed()
    manifest = manifest_of(bytes(384), schema_digest=document_digest(linkage_schema()))
    manifest["key"] = {"epoch": 1, "check_value": "00" * 16, **derivation}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    found = doctor(project_id="prj_1", encodings=tmp_path)["encodings"]
    assert found.verdict is Verdict.FAILED
    assert "no service takes it" in found.detail


def test_doctor_takes_the_project_of_linkage_toml(doctor: Doctor, agreed: Callable[..., None]) -> None:
    agreed()
    (doctor.work / "linkage.toml").write_text('project = "prj_1"\n')
    assert doctor()["project"].verdict is Verdict.OK


def test_doctor_finds_another_linkage_schema(doctor: Doctor, agreed: Callable[..., None], tmp_path: Path) -> None:
    agreed()
    (tmp_path / "schema.json").write_text(json.dumps(linkage_schema(l=256)))
    found = doctor(project_id="prj_1", schema_file=tmp_path / "schema.json", encodings=tmp_path)
    assert found["linkage schema"].verdict is Verdict.FAILED
    assert found["linkage secret"].verdict is Verdict.LOOK
    assert found["encodings"].verdict is Verdict.FAILED


def test_doctor_finds_a_service_that_hands_out_another_schema_than_agreed(
    doctor: Doctor, agreed: Callable[..., None]
) -> None:
    agreed(digest="ab" * 32)
    assert "Encode nothing" in doctor(project_id="prj_1")["linkage schema"].advice


def test_doctor_finds_an_encoding_profile_that_this_version_lacks(doctor: Doctor, agreed: Callable[..., None]) -> None:
    agreed(profile="saul-k9-4096-v7")
    assert doctor(project_id="prj_1")["encoding profile"].verdict is Verdict.FAILED


def test_doctor_finds_a_project_that_is_not_there(doctor: Doctor) -> None:
    assert doctor(project_id="prj_9")["project"].verdict is Verdict.FAILED


def test_doctor_says_that_a_keystore_is_there_and_not_used(doctor: Doctor, memory_keyring: MemoryKeyring) -> None:
    assert memory_keyring.entries == {}
    profile = load_profile(doctor.profile)
    found = find_working_keystore()
    assert "config keystore os" in next(machine.keystore_findings(found, profile)).advice


@pytest.mark.parametrize(
    ("free", "verdict"), [(50_000_000, Verdict.FAILED), (10**9, Verdict.LOOK), (10**10, Verdict.OK)]
)
def test_doctor_finds_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    (finding,) = machine.disk_findings({"working folder": tmp_path})
    assert finding.verdict is verdict


def test_doctor_finds_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (finding,) = machine.disk_findings({"working folder": tmp_path / "absent"})
    assert finding.verdict is Verdict.FAILED


def test_check_that_breaks_does_not_keep_the_others_from_being_made(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Ann Example")

    monkeypatch.setattr(machine, "disk_findings", broken)
    found = doctor()
    assert found["disk"].detail == "The check itself broke (RuntimeError)."
    assert found["versions"].verdict is Verdict.OK


@pytest.mark.usefixtures("registered")
def test_doctor_command_ends_with_1_if_a_check_failed(
    registered: Path, linkage: Linkage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert linkage("doctor").code == 0
    (registered.parent / "client-key.jwk").unlink()
    outcome = linkage("doctor", "--json")
    assert outcome.code == ExitCode.FAILURE
    document = outcome.json()
    assert document["failed"] == 1
    assert {"check", "verdict", "detail", "advice"} == set(document["findings"][0])
    assert "FAILED  keys" in linkage("doctor").out


def test_doctor_shows_no_key(doctor: Doctor) -> None:
    said = " ".join(finding.detail + finding.advice for finding in doctor().values())
    private = SigningKey.load(doctor.profile.parent / "client-key.jwk").private_jwk()["d"]
    assert private not in said
