"""What a service that others can reach is not started with, and how an operator says otherwise."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from linkage_service import service_keys
from linkage_service.cli import main
from linkage_service.errors import NotReady
from linkage_service.safety import must_be_safe, risks
from linkage_service.settings import Settings

ISSUER = "https://linkage.example.org"
PROXY = {"trusted_proxies": ("192.0.2.5",)}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a container listens on


def _safe(tmp_path: Path, **changes: Any) -> Settings:
    service_keys.create(tmp_path / "keys-volume", log_origin=None)
    return Settings(
        data_dir=tmp_path / "data", keys_dir=tmp_path / "keys-volume", issuer=ISSUER, **{**PROXY, **changes}
    )


def test_service_that_is_set_up_well_starts_where_others_can_reach_it(tmp_path: Path) -> None:
    must_be_safe(_safe(tmp_path), host=EVERYWHERE)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_service_that_only_this_machine_can_reach_starts_as_it_is(tmp_path: Path, host: str) -> None:
    must_be_safe(Settings(data_dir=tmp_path, require_dpop=False), host=host)


@pytest.mark.parametrize("issuer", [None, "http://linkage.example.org"])
def test_service_on_the_network_without_https_is_refused(tmp_path: Path, issuer: str | None) -> None:
    settings = Settings(data_dir=tmp_path, issuer=issuer, key_encryption_key="x")
    with pytest.raises(NotReady, match="plain_http: LINKAGE_ISSUER is not an https address") as caught:
        must_be_safe(settings, host=EVERYWHERE)
    assert "--development" in caught.value.detail


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "linkage.internal"])  # noqa: S104 - as above
def test_every_address_but_this_machines_is_the_network(tmp_path: Path, host: str) -> None:
    assert "plain_http" in risks(Settings(data_dir=tmp_path), host=host)


def test_service_behind_a_proxy_is_held_to_it_on_loopback_too(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, issuer=ISSUER, require_dpop=False)
    found = ["unknown_proxy", "unbound_tokens", "keys_beside_blobs"]
    assert risks(settings, host="127.0.0.1") == found
    assert risks(settings, host=None) == found[1:]


def test_proxy_that_is_not_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"unknown_proxy: .*LINKAGE_TRUSTED_PROXIES"):
        must_be_safe(_safe(tmp_path, trusted_proxies=()), host=EVERYWHERE)
    must_be_safe(_safe(tmp_path, trusted_proxies=(), accepted_risks=frozenset({"unknown_proxy"})), host=EVERYWHERE)


@pytest.mark.parametrize(
    ("changes", "beside"),
    [
        ({}, True),
        ({"keys_dir": "data/blobs/keys"}, True),
        ({"keys_dir": "."}, True),
        ({"keys_dir": "keys-volume"}, False),
        ({"blob_url": "s3://bucket/linkage"}, False),
        ({"key_encryption_key": "x"}, False),
    ],
)
def test_key_beside_the_blobs_is_refused(tmp_path: Path, changes: dict[str, str], *, beside: bool) -> None:
    given: dict[str, Any] = {**changes}
    if "keys_dir" in given:
        given["keys_dir"] = tmp_path / given["keys_dir"]
    settings = Settings(data_dir=tmp_path / "data", issuer=ISSUER, **given)
    assert ("keys_beside_blobs" in risks(settings, host=EVERYWHERE)) is beside


@pytest.mark.parametrize(
    ("blobs", "keys", "beside"),
    [
        ("/blobs", "/keys", False),
        ("/var/blobs", "/var/lib/linkage-keys", False),
        ("/blobs", "/blobs/keys", True),
        ("/srv/linkage/blobs", "/srv/linkage/keys", True),
        ("/srv/linkage", "/srv/linkage", True),
    ],
)
def test_key_on_another_volume_is_not_beside_the_blobs(blobs: str, keys: str, *, beside: bool) -> None:
    settings = Settings(data_dir=Path("/srv/linkage"), blob_url=f"file://{blobs}", keys_dir=Path(keys), issuer=ISSUER)
    assert ("keys_beside_blobs" in risks(settings, host=EVERYWHERE)) is beside


@pytest.mark.parametrize(("mode", "readable"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_keys_that_others_can_read_are_refused(tmp_path: Path, mode: int, *, readable: bool) -> None:
    settings = _safe(tmp_path)
    (settings.resolved_keys_dir / "storage.key").chmod(mode)
    assert ("readable_keys" in risks(settings, host=EVERYWHERE)) is readable


def test_sqlite_for_several_processes_is_refused(tmp_path: Path) -> None:
    assert risks(_safe(tmp_path, api_processes=2), host=EVERYWHERE) == ["sqlite_shared"]
    assert risks(_safe(tmp_path), host=EVERYWHERE) == []


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [
        ("postgresql+psycopg://linkage@db.example/linkage", True),
        ("postgresql+psycopg://linkage@db.example/linkage?sslmode=prefer", True),
        ("postgresql+psycopg://linkage@db.example/linkage?sslmode=verify-full", False),
        ("postgresql+psycopg://linkage@/linkage?host=/run/postgresql", False),
        ("postgresql+psycopg://linkage@127.0.0.1/linkage", False),
        ("postgresql+psycopg:///linkage?hostaddr=10.0.0.5", True),
        ("postgresql+psycopg://linkage@localhost/linkage?hostaddr=10.0.0.5", True),
        ("postgresql+psycopg:///linkage?hostaddr=10.0.0.5&sslmode=require", False),
        ("postgresql+psycopg://linkage@db.example/linkage?hostaddr=127.0.0.1", False),
        ("postgresql+psycopg:///linkage?host=127.0.0.1&host=db.example", True),
    ],
)
def test_database_over_the_network_without_tls_is_refused(tmp_path: Path, url: str, *, in_clear: bool) -> None:
    assert ("database_in_clear" in risks(_safe(tmp_path, database_url=url), host=EVERYWHERE)) is in_clear


def test_risk_is_taken_by_its_name_and_no_other(tmp_path: Path) -> None:
    accepted = frozenset({"unbound_tokens"})
    must_be_safe(_safe(tmp_path, require_dpop=False, accepted_risks=accepted), host=EVERYWHERE)
    settings = Settings(data_dir=tmp_path, issuer=ISSUER, require_dpop=False, accepted_risks=accepted)
    with pytest.raises(NotReady) as caught:
        must_be_safe(settings, host=EVERYWHERE)
    assert "keys_beside_blobs:" in caught.value.detail
    assert "unbound_tokens:" not in caught.value.detail


def test_development_starts_with_every_risk(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, require_dpop=False, development=True)
    assert risks(settings, host=EVERYWHERE)
    must_be_safe(settings, host=EVERYWHERE)


def test_serve_that_is_not_safe_says_what_to_do_and_exits(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", "--data-dir", str(tmp_path), "--host", EVERYWHERE])
    assert done.exit_code == 1
    assert "plain_http" in done.stderr
    assert "LINKAGE_ACCEPTED_RISKS" in done.stderr
