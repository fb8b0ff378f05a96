"""First run and lost administrators: one-time links on standard output, no default password, an event for each."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from linkage_service.cli import main
from linkage_service.database import Database
from linkage_service.settings import Settings
from support.service_app import QUICK, Key

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in QUICK.items():
        monkeypatch.setenv(f"LINKAGE_{name.upper()}", str(value))
    before = logging.getLogger("alembic").level
    yield
    logging.getLogger("alembic").setLevel(before)


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def _init(folder: Path, *words: str) -> Result:
    return _run("init", "--data-dir", str(folder), "--organisation", "Unit", *words)


def _events(folder: Path) -> list[Json]:
    database = Database(Settings(data_dir=folder).resolved_database_url)
    with database.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT header FROM audit_event ORDER BY seq").all()
    database.close()
    return [json.loads(row[0]) for row in rows]


def test_init_prints_a_link_once_for_the_first_administrator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKAGE_ISSUER", "https://linkage.example.org")
    ended = _init(tmp_path, "--administrator-email", "Admin@Unit.test", "--administrator-name", "Sam Field")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.count("https://linkage.example.org/enrol/") == 1
    token = ended.stdout.split("/enrol/")[1].split()[0]
    assert token not in ended.stderr
    assert token.encode() not in (tmp_path / "linkage.db").read_bytes()
    assert [event["type"] for event in _events(tmp_path)] == ["service.initialised", "person.invited"]
    assert "Sam" not in str(_events(tmp_path))


def test_init_gives_the_link_in_json_too(tmp_path: Path) -> None:
    ended = _init(tmp_path, "--administrator-email", "admin@unit.test", "--json")
    document = json.loads(ended.stdout)
    assert document["clients"] == {}
    assert document["link"].startswith("/enrol/")
    assert document["administrator"].startswith("per_")


def test_init_without_any_way_in_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    ended = _init(tmp_path)
    assert ended.exit_code == 2
    assert "Nobody could come in" in ended.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["nobody", "a b@unit.test", "a@", "@unit.test"])
def test_init_refuses_what_is_no_address(tmp_path: Path, address: str) -> None:
    ended = _init(tmp_path, "--administrator-email", address)
    assert ended.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_init_with_a_client_alone_prints_no_link(tmp_path: Path) -> None:
    file = tmp_path / "administrator.jwk"
    file.write_text(json.dumps(Key().jwk), encoding="utf-8")
    ended = _init(tmp_path / "data", "--administrator-jwk", str(file), "--json")
    assert ended.exit_code == 0, ended.output
    assert set(json.loads(ended.stdout)) == {"organisation", "clients", "log_verifier_key", "data_dir"}


def test_lost_administrator_gets_a_new_link_and_the_old_one_is_dead(tmp_path: Path) -> None:
    first = json.loads(_init(tmp_path, "--administrator-email", "admin@unit.test", "--json").stdout)
    ended = _run("invite-administrator", "--data-dir", str(tmp_path), "--email", "admin@unit.test", "--json")
    assert ended.exit_code == 0, ended.output
    again = json.loads(ended.stdout)
    assert again["administrator"] == first["administrator"]
    assert again["link"] != first["link"]
    event = _events(tmp_path)[-1]
    assert event["type"] == "person.invited"
    assert event["actor"]["kind"] == "system"
    database = Database(Settings(data_dir=tmp_path).resolved_database_url)
    with database.reading() as session:
        (count,) = session.connection().exec_driver_sql("SELECT count(*) FROM person_invitation").one()
    database.close()
    assert count == 1


def test_first_officer_is_invited_from_the_command_line_and_is_no_administrator(tmp_path: Path) -> None:
    first = json.loads(_init(tmp_path, "--administrator-email", "admin@unit.test", "--json").stdout)
    ended = _run("invite-officer", "--data-dir", str(tmp_path), "--email", "officer@unit.test", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["officer"] != first["administrator"]
    assert _events(tmp_path)[-1]["action"] == "inviteOfficer"
    assert _detail(tmp_path) == {"name": "Officer", "before": [], "after": ["officer"]}
    again = _run("invite-officer", "--data-dir", str(tmp_path), "--email", "admin@unit.test")
    assert f"The officer {first['administrator']} enrols" in again.stdout
    assert _detail(tmp_path) == {"name": "Administrator", "before": ["administrator"], "after": ["officer"]}


def _detail(folder: Path) -> Json:
    database = Database(Settings(data_dir=folder).resolved_database_url)
    with database.reading() as session:
        query = "SELECT body FROM audit_body ORDER BY seq DESC LIMIT 1"
        (body,) = session.connection().exec_driver_sql(query).one()
    database.close()
    detail: Json = json.loads(body)["detail"]
    return detail


def test_second_administrator_is_made_from_the_command_line(tmp_path: Path) -> None:
    first = json.loads(_init(tmp_path, "--administrator-email", "admin@unit.test", "--json").stdout)
    ended = _run("invite-administrator", "--data-dir", str(tmp_path), "--email", "second@unit.test")
    assert ended.exit_code == 0, ended.output
    assert "It works once" in ended.stdout
    assert first["administrator"] not in ended.stdout


def test_administrator_of_a_service_that_was_not_initialised_is_refused(tmp_path: Path) -> None:
    ended = _run("invite-administrator", "--data-dir", str(tmp_path), "--email", "admin@unit.test")
    assert ended.exit_code == 1
    assert "linkage-service init" in ended.output
