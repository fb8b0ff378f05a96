"""The worker that a service starts beside itself: how it ends, and what becomes of one that hangs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from structlog.testing import capture_logs

from linkage_client.demo import flow
from linkage_client.testing.service import RunningService
from linkage_service.server import embedded_worker
from support.service_app import service_app
from support.topology import wait_for

# Long enough that a worker on a busy machine is not taken for one that hangs.
SILENT_S = 8.0


def test_worker_asked_to_stop_while_its_parent_lives_ends_in_order_and_leaves_nothing_unsigned(tmp_path: Path) -> None:
    with RunningService(tmp_path) as service:
        _, kept = flow.keep_checkpoint(service.unit, service.unit.officer)
        # An event that the service has no time left to sign.
        service.unit.administrator.client.organisations.create(name="Northgate Council")
        service.kill()
    unsigned = service.verify_ledger(against=kept)
    command = [sys.executable, "-P", "-m", "linkage_service", "worker", "--exit-with-parent", "--no-metrics"]
    with subprocess.Popen(
        [*command, "--data-dir", service.data_dir],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as worker:  # fmt: skip
        assert worker.stderr
        assert any(b"worker_started" in line for line in worker.stderr)
        worker.terminate()
        said = worker.stderr.read()
        assert worker.wait(60) == 0, said
    report = service.verify_ledger(against=kept)

    assert unsigned["signed_size"] < unsigned["size"]
    assert report["verified"]
    assert report["signed_size"] == report["size"] >= unsigned["size"]


def test_worker_that_hangs_is_ended_by_force_and_replaced(tmp_path: Path) -> None:
    with service_app(tmp_path) as service, capture_logs() as logged:

        def ready() -> list[int]:
            return [line["pid"] for line in logged if line["event"] == "worker_ready"]

        worker = embedded_worker(service.settings, silent_s=SILENT_S)
        worker.start()
        try:
            wait_for(lambda: len(ready()) == 1, what="a worker had started")
            os.kill(ready()[0], signal.SIGSTOP)
            wait_for(lambda: len(ready()) == 2, what="another had taken its place")
        finally:
            worker.stop()
    first, second = ready()
    assert first != second
    assert not Path(f"/proc/{first}").exists()
    assert not Path(f"/proc/{second}").exists()
    said = [(line["event"], line.get("code")) for line in logged if line["event"] in ("process_silent", "worker_died")]
    assert said == [("process_silent", None), ("worker_died", -signal.SIGKILL)]
