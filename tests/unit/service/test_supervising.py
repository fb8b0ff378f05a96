"""What several processes of a service are not started with, and what each is told of them all."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from linkage_service import server, supervising
from linkage_service.cli import main
from linkage_service.errors import NotReady
from linkage_service.server import Serving, listen
from linkage_service.settings import Settings
from linkage_service.supervising import metrics_address, serve_in_processes

POSTGRESQL = "postgresql+psycopg://linkage@db.example/linkage"
ANYWHERE = Serving(host="127.0.0.1", port=0, ready_file=None, embedded_worker=False, exit_with_parent=False)


@pytest.fixture(autouse=True)
def _logs_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (server, supervising):
        monkeypatch.setattr(module, "configure", lambda **_: None)


@pytest.mark.parametrize("accepted", ["[]", '["sqlite_shared"]'])
def test_several_processes_on_sqlite_are_refused_whatever_was_accepted(tmp_path: Path, accepted: str) -> None:
    done = CliRunner().invoke(
        main,
        ["serve", "--data-dir", str(tmp_path), "--processes", "2", "--development"],
        env={"LINKAGE_ACCEPTED_RISKS": accepted},
    )
    assert done.exit_code == 1
    assert done.stderr == (
        "With SQLite one process serves, and --processes asks for 2. Set LINKAGE_DATABASE_URL to a PostgreSQL, or "
        "leave --processes out.\n"
    )


def test_fewer_processes_in_all_than_on_this_machine_are_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=POSTGRESQL, api_processes=3)
    with pytest.raises(NotReady, match="LINKAGE_API_PROCESSES is 3, and --processes asks for 4 on this machine"):
        serve_in_processes(settings, ANYWHERE, processes=4)


@pytest.mark.parametrize(("given", "told"), [({}, 2), ({"api_processes": 2}, 2), ({"api_processes": 6}, 6)])
def test_processes_in_all_are_those_of_the_settings_or_else_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], told: int
) -> None:
    class Checked(Exception):
        """As far as this test goes."""

    seen: list[Settings] = []

    def check(settings: Settings, *, host: str | None) -> None:
        assert host == "127.0.0.1"
        seen.append(settings)
        raise Checked

    monkeypatch.setattr(supervising, "must_be_safe", check)
    with pytest.raises(Checked):
        serve_in_processes(
            Settings(data_dir=tmp_path, database_url=POSTGRESQL, **given),
            ANYWHERE,
            processes=2,
        )
    assert [settings.api_processes for settings in seen] == [told]


def test_process_that_is_started_has_the_settings_that_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Settings, str, int]] = []
    monkeypatch.setattr(server, "serve_beside", lambda settings, *, host, port: seen.append((settings, host, port)))
    told = ["--host", "::1", "--port", "8001", "--api-processes", "6", "--metrics-listen", "127.0.0.1:9466"]
    done = CliRunner().invoke(
        main,
        ["serve-beside", "--data-dir", str(tmp_path), *told],
        env={"LINKAGE_API_PROCESSES": "2", "LINKAGE_METRICS_LISTEN": "127.0.0.1:9464"},
    )
    assert done.exit_code == 0
    ((settings, host, port),) = seen
    assert (settings.api_processes, settings.metrics_listen) == (6, "127.0.0.1:9466")
    assert (host, port) == ("::1", 8001)


@pytest.mark.parametrize(
    ("listen", "number", "address"),
    [
        (None, 1, None),
        ("127.0.0.1:9464", 0, "127.0.0.1:9464"),
        ("127.0.0.1:9464", 3, "127.0.0.1:9467"),
        ("[::1]:9464", 1, "[::1]:9465"),
        ("127.0.0.1:0", 1, "127.0.0.1:0"),
    ],
)
def test_metrics_of_each_process_have_a_port_of_their_own(
    tmp_path: Path, listen: str | None, number: int, address: str | None
) -> None:
    assert metrics_address(Settings(data_dir=tmp_path, metrics_listen=listen), number) == address


def test_metrics_above_the_last_port_are_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, metrics_listen="127.0.0.1:65534")
    assert metrics_address(settings, 1) == "127.0.0.1:65535"
    with pytest.raises(NotReady, match=r"LINKAGE_METRICS_LISTEN upwards.* above 65535"):
        metrics_address(settings, 2)


@pytest.mark.parametrize("beside", [False, True])
def test_connection_of_a_listening_socket_sends_what_is_written_at_once(*, beside: bool) -> None:
    async def at_once() -> bool:
        connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        with listen("127.0.0.1", 0, beside=beside) as listener:
            served = await asyncio.start_server(lambda _, writer: connected.put_nowait(writer), sock=listener)
            _, caller = await asyncio.open_connection(*listener.getsockname())
            writer = await connected.get()
            option = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for each in (writer, caller, served):
                each.close()
        return bool(option)

    assert asyncio.run(at_once())
