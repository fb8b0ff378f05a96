"""The systemd units and the reverse proxy, read by systemd and nginx themselves where these are at hand."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from linkage_service.settings import Settings
from support.deploying import COMPOSE, DEPLOY, require_program

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
# From 0, nothing is exposed, to 10. systemd calls up to 2 "safe" or "ok".
EXPOSURE_MAX = "2"


def _runnable(unit: Path, folder: Path) -> Path:
    """The unit with a program that exists: systemd asks whether it does."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text("utf-8"), flags=re.MULTILINE)
    copy = folder / unit.name
    copy.write_text(text)
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_understood_and_exposes_little(unit: Path, tmp_path: Path) -> None:
    program = require_program("systemd-analyze", package="systemd")
    copy = _runnable(unit, tmp_path)
    verified = subprocess.run([program, "verify", "--man=no", copy], check=False, capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        [program, "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_MAX}0", copy],
        check=False,
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout.splitlines()[-1]


def test_timer_starts_a_unit_that_exists() -> None:
    timers = list((DEPLOY / "systemd").glob("*.timer"))
    assert timers
    for timer in timers:
        assert timer.with_suffix(".service") in UNITS


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_runs_as_somebody_without_rights_and_names_settings_that_exist(unit: Path) -> None:
    text = unit.read_text("utf-8")
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert lines["User"] == "linkage"
    assert lines["NoNewPrivileges"] == "yes"
    assert lines["CapabilityBoundingSet"] == ""
    named = set(re.findall(r"(LINKAGE_[A-Z0-9_]+)=(?!value)", text)) - {"LINKAGE_NAME"}
    assert named <= {f"LINKAGE_{name.upper()}" for name in Settings.model_fields}
    assert shlex.split(lines["ExecStart"])[0] == "/opt/linkage/bin/linkage-service"


def _configuration(folder: Path, *, options: Path | None) -> Path:
    subprocess.run(["sh", COMPOSE.parent / "prepare.sh", folder], check=True, capture_output=True)
    text = (DEPLOY / "proxy" / "nginx.conf").read_text("utf-8")
    (folder / "options").mkdir()
    if options is not None:
        (folder / "options" / "option.conf").write_text(
            options.read_text("utf-8").replace("/etc/nginx/tls/clients.pem", f"{folder}/cluster/ca.pem")
        )
    for name, place in (
        # First: the folder of the test may lie there too.
        ("/tmp/", f"{folder}/"),  # noqa: S108 - the container's own
        ("/etc/nginx/tls/server", f"{folder}/database-tls/server"),
        ("/etc/nginx/options", f"{folder}/options"),
        ("server api:8080", "server 127.0.0.1:8080"),
        ("/dev/stdout", f"{folder}/access.log"),
    ):
        assert name in text
        text = text.replace(name, place)
    copy = folder / "nginx.conf"
    copy.write_text(text)
    return copy


@pytest.mark.parametrize("option", [None, "mtls.conf"])
def test_configuration_of_the_proxy_is_understood_by_nginx(option: str | None, tmp_path: Path) -> None:
    program = require_program("nginx", package="nginx-light")
    copy = _configuration(tmp_path, options=DEPLOY / "proxy" / option if option else None)
    done = subprocess.run([program, "-t", "-q", "-c", copy], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_proxy_writes_down_no_address_of_a_page_and_no_credential() -> None:
    text = (DEPLOY / "proxy" / "nginx.conf").read_text("utf-8")
    log_format = text.partition("log_format")[2].partition("access_log")[0]
    assert (
        re.findall(r"\$\w*(?:uri|request\b|args|http_|cookie)\w*", log_format.replace("$sent_http_x_request_id", ""))
        == []
    )


def test_proxy_replaces_what_clients_claim_about_their_address() -> None:
    text = (DEPLOY / "proxy" / "nginx.conf").read_text("utf-8")
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert "proxy_add_x_forwarded_for" not in text


def test_proxy_lets_a_part_of_the_largest_size_through() -> None:
    text = (DEPLOY / "proxy" / "nginx.conf").read_text("utf-8")
    allowed = int(re.findall(r"client_max_body_size (\d+)m;", text)[0]) * 2**20
    assert allowed > int(Settings.model_fields["part_bytes_max"].default)
