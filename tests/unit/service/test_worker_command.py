"""What `linkage-service worker` says of an executor that cannot work."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from click.testing import CliRunner

from linkage_matching.errors import ExtraMissing
from linkage_service import server
from linkage_service.cli import main
from linkage_service.engine import EngineNotReady
from linkage_service.settings import Settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--executor", "dask"], "needs the address of its scheduler"),
        (["--executor", "dask", "--scheduler", "http://x:1"], "LINKAGE_SCHEDULER"),
        (["--executor", "dask", "--scheduler", "tls://x:1"], "needs certificates"),
        (["--executor", "dask", "--scheduler", "tcp://x:1"], "for this machine only"),
    ],
)
def test_worker_command_with_a_cluster_that_cannot_be_reached_says_what_is_missing(
    tmp_path: Path, options: list[str], words: str
) -> None:
    result = CliRunner().invoke(main, ["worker", "--data-dir", str(tmp_path), *options])
    assert result.exit_code == 1
    assert words in result.output


class Missing:
    """A module of an extra that is not installed."""

    def __getattr__(self, name: str) -> object:
        raise ExtraMissing


def test_service_without_the_package_of_its_worker_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    settings = Settings(data_dir=tmp_path, executor="dask", scheduler="tcp://127.0.0.1:9")
    runtime = SimpleNamespace(
        settings=settings, database=SimpleNamespace(engine=None), close=lambda: closed.append(True)
    )
    monkeypatch.setattr(server, "configure", lambda **_: None)
    monkeypatch.setattr(server, "build", lambda *_, **__: runtime)
    monkeypatch.setattr(server, "must_serve", lambda _: None)
    monkeypatch.setitem(sys.modules, "linkage_matching.dask_executor", cast("ModuleType", Missing()))
    serving = server.Serving(
        host="127.0.0.1", port=0, ready_file=tmp_path / "ready", embedded_worker=True, exit_with_parent=False
    )
    with pytest.raises(EngineNotReady, match=r"linkage-service\[dask\]"):
        server.serve_until_stopped(settings, serving)
    assert (closed, (tmp_path / "ready").exists()) == ([True], False)


def test_worker_command_with_an_unknown_executor_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["worker", "--data-dir", str(tmp_path), "--executor", "spark"])
    assert result.exit_code == 2
