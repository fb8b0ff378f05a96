"""What `linkage-service worker` says of an executor that cannot work."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from linkage_service.cli import main


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


def test_worker_command_with_an_unknown_executor_is_wrong_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["worker", "--data-dir", str(tmp_path), "--executor", "spark"])
    assert result.exit_code == 2
