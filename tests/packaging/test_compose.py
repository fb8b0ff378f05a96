"""The compose file: read by a complete implementation of its specification, and hardened as the guide says."""

import os
import re
import ssl
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from linkage_service.safety import risks
from linkage_service.settings import Settings
from support.deploying import COMPOSE, DEPLOY, compose_services, compose_text, require_module

SERVICES = dict(compose_services())
SETTINGS = {f"LINKAGE_{name.upper()}" for name in Settings.model_fields}
_OURS = {"api", "worker", "init", "migrate"}


def _whole(name: str) -> str:
    return yaml.safe_dump(SERVICES[name])


def test_compose_file_is_one_by_the_published_specification() -> None:
    read = require_module("compose_spec").PyCompose.from_yaml
    # Its reader knows no merge keys; they are put in first, as every YAML reader of compose files does.
    merged = yaml.safe_dump(yaml.safe_load(compose_text()))
    assert read(merged).validate() is None
    with pytest.raises(ValueError, match="stop_grace"):
        read(merged.replace("stop_grace_period", "stop_grace"))


def test_compose_file_without_an_issuer_does_not_start() -> None:
    with pytest.raises(KeyError, match="LINKAGE_ISSUER"):
        compose_text({})


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_a_read_only_root_no_capability_and_no_way_to_more(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & service.keys()


def test_only_the_proxy_is_open_to_the_outside() -> None:
    networks = yaml.safe_load(compose_text())["networks"]
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert {name for name, network in networks.items() if not network.get("internal")} == {"outside"}
    assert [name for name, service in SERVICES.items() if "outside" in service["networks"]] == ["proxy"]


def test_who_has_no_business_with_the_database_shares_no_network_with_it() -> None:
    assert {name for name, service in SERVICES.items() if "database" in service["networks"]} == {*_OURS, "grants", "db"}
    assert set(SERVICES["proxy"]["networks"]) & set(SERVICES["matcher"]["networks"]) == set()


def test_secrets_are_files_and_stand_in_no_environment() -> None:
    for name, service in SERVICES.items():
        said = {
            key for key in service.get("environment", {}) if re.search(r"PASSWORD|SECRET|ACCESS_KEY|ENCRYPTION", key)
        }
        assert said <= {"POSTGRES_PASSWORD_FILE"}, name
    assert all(set(secret) == {"file"} for secret in yaml.safe_load(compose_text())["secrets"].values())


def test_password_of_the_tables_owner_reaches_nobody_who_serves() -> None:
    holders = {name for name in SERVICES if "owner_password" in _whole(name)}
    assert holders == {"init", "migrate", "grants", "db"}


def test_settings_named_in_the_compose_file_exist() -> None:
    named = {key for name in _OURS for key in SERVICES[name]["environment"] if key.startswith("LINKAGE_")}
    assert {"LINKAGE_DATABASE_URL", "LINKAGE_TRUSTED_PROXIES"} <= named <= SETTINGS


def test_settings_of_the_compose_file_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SERVICES["api"]["environment"].items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert risks(settings, host="0.0.0.0") == []  # noqa: S104 - inside its network
    assert settings.api_processes == SERVICES["api"]["deploy"]["replicas"]
    assert settings.executor == "dask"
    assert [str(network) for network in settings.trusted_proxies] == ["172.30.57.2/32"]
    proxy = ip_address(SERVICES["proxy"]["networks"]["edge"]["ipv4_address"])
    (edge,) = yaml.safe_load(compose_text())["networks"]["edge"]["ipam"]["config"]
    assert proxy == ip_address("172.30.57.2")
    # Whoever starts before the proxy is given an address of the range.
    assert proxy in ip_network(edge["subnet"])
    assert proxy not in ip_network(edge["ip_range"])
    assert ip_network(edge["ip_range"]).subnet_of(ip_network(edge["subnet"]))  # type: ignore[arg-type]  # both of version 4


def test_connection_to_the_database_is_encrypted_and_checked() -> None:
    addresses = re.findall(r"postgresql\S*://\S+", COMPOSE.read_text("utf-8"))
    assert len(addresses) == 3
    assert [one for one in addresses if "sslmode=verify-full&sslrootcert=" not in one] == []


def test_mtls_is_an_option_that_mounts_a_file_that_the_proxy_reads() -> None:
    option = yaml.safe_load((COMPOSE.parent / "compose.mtls.yaml").read_text("utf-8"))
    (mount,) = option["services"]["proxy"]["volumes"]
    source, target, mode = mount.split(":")
    assert (COMPOSE.parent / source).resolve().is_file()
    assert f"include {Path(target).parent}/*.conf;" in (DEPLOY / "proxy" / "nginx.conf").read_text("utf-8")
    assert mode == "ro"


def test_files_that_are_mounted_exist_or_are_made_by_the_preparation(tmp_path: Path) -> None:
    subprocess.run(["sh", COMPOSE.parent / "prepare.sh", tmp_path], check=True, capture_output=True)
    mounts = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())}
    secrets = {secret["file"] for secret in yaml.safe_load(compose_text())["secrets"].values()}
    for source in [*mounts, *secrets]:
        if source.startswith("."):
            assert (COMPOSE.parent / source).exists() or (tmp_path / source).exists(), source


def test_preparation_makes_certificates_that_verify_and_leaves_alone_what_is_there(tmp_path: Path) -> None:
    command = ["sh", str(COMPOSE.parent / "prepare.sh"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for folder, name in (("cluster", "node"), ("database-tls", "server")):
        check = ["openssl", "verify", "-CAfile", f"{tmp_path}/{folder}/ca.pem", f"{tmp_path}/{folder}/{name}.pem"]
        subprocess.run(check, check=True, capture_output=True)
        ssl.create_default_context(cafile=str(tmp_path / folder / "ca.pem"))
        assert not (tmp_path / folder / "ca-key.pem").exists()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    subprocess.run(command, check=True, capture_output=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert (tmp_path / "database-tls" / "server-key.pem").stat().st_mode & 0o077 == 0


def test_secrets_reach_a_program_as_variables_of_their_files_names(tmp_path: Path) -> None:
    (tmp_path / "PGPASSWORD").write_text("a b'c\n")
    done = subprocess.run(
        [
            "sh",
            COMPOSE.parent / "with-secrets.sh",
            "sh",
            "-c",
            'printf "%s|%s" "$PGPASSWORD" "$1"',
            "program",
            "given",
        ],
        env={"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "a b'c|given"


@pytest.mark.parametrize("script", ["compose/prepare.sh", "compose/with-secrets.sh", "compose/postgresql/roles.sh"])
def test_script_parses_and_is_executable(script: str) -> None:
    subprocess.run(["sh", "-n", DEPLOY / script], check=True)
    assert (DEPLOY / script).stat().st_mode & 0o111
