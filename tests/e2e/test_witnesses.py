"""A witness in a process of its own, before a service in another."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linkage_client.testing.service import RunningService
from linkage_ledger.cosignatures import WitnessKey, cosignatures_of


def _command(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-m", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_witness_process_cosigns_for_a_running_service_and_survives_being_killed(tmp_path: Path) -> None:
    folder = tmp_path / "witness"
    key = _command("linkage_ledger", "witness", "init", str(folder), "--name", "witness.test/w1").strip()
    with RunningService(tmp_path / "service") as running:
        officer = running.unit.officer.client
        _command("linkage_ledger", "witness", "add-log", str(folder), running.unit.verifier_key)
        running.stop()
        with _witness(folder) as (process, url):
            settings = {
                "LINKAGE_WITNESSES": json.dumps([{"key": key, "url": url}]), "LINKAGE_WITNESS_QUORUM": "1",
                "LINKAGE_CHECKPOINT_S": "0.2",
            }  # fmt: skip
            running.local._settings = settings
            running.restart()
            while not (state := officer.audit.witnesses()).satisfied:
                pass
            note = officer.audit.checkpoint(witnessed=True)
            assert cosignatures_of(note, [WitnessKey.parse(key)])[0].witness.name == "witness.test/w1"
            process.kill()
            process.wait()
        port = url.rpartition(":")[2]
        list(officer.audit.events(limit=1))
        lacking = officer.audit.witnesses()
        with _witness(folder, port=port) as (process, again):
            assert again == url
            while (officer.audit.witnesses().witnessed_size or 0) <= (lacking.witnessed_size or state.size):
                pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        shown = json.loads(_command("linkage_ledger", "witness", "show", str(folder), "--json"))
        assert shown["logs"][0]["size"] > state.size


@contextmanager
def _witness(folder: Path, *, port: str = "0") -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-P", "-m", "linkage_ledger", "witness", "serve", str(folder), "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()
