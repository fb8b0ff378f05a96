"""A `linkage upload` that is killed goes on when the same command is run again, and sends no part twice."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linkage_client.cli.exit_codes import ExitCode
from linkage_client.demo import flow
from linkage_client.encoding.package import ENCODINGS_FILE, MANIFEST_FILE
from linkage_client.testing.rounds import Round, open_round
from linkage_client.testing.service import RunningService
from support.stalling_relay import Answered, StallingRelay

PARTS = 6
SIZE_BYTES = (PARTS - 1) * 4 * 1024 * 1024 + 128_000


def declared(answered: Answered) -> bool:
    return answered.method == "POST" and answered.path.endswith("/uploads")


def part(answered: Answered) -> bool:
    return answered.method == "PUT" and answered.status == 204


def listed(answered: Answered) -> bool:
    return answered.method == "GET" and answered.path.split("?")[0].endswith("/uploads")


def completed(answered: Answered) -> bool:
    return answered.method == "POST" and answered.path.endswith(":complete")


@dataclass(frozen=True)
class Analyst:
    """A provider with a large file of encodings and a profile that goes through the relay."""

    round: Round
    relay: StallingRelay
    folder: Path
    state: Path

    def begin(self) -> "subprocess.Popen[bytes]":
        provider = self.round.providers[0]
        command = [sys.executable, "-m", "linkage_client", "upload", str(self.folder), "--config"]
        return subprocess.Popen(
            [*command, str(provider.profile), "--project", self.round.project.id, "--json"],
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def interrupt_after(self, count: int, until: Callable[[Answered], bool], signal_: signal.Signals) -> int:
        """Run the command, and send it a signal when the service has answered so often and the answer is on its way."""
        self.relay.fall_silent_after(count, until)
        with self.begin() as command:
            assert self.relay.silent.wait(120)
            command.send_signal(signal_)
            # A part on its way does not keep the command from ending.
            code = command.wait(timeout=60)
        self.relay.recover()
        return code

    def finish(self) -> dict[str, Any]:
        with self.begin() as command:
            out, err = command.communicate(timeout=120)
        assert command.returncode == 0, err.decode()
        document: dict[str, Any] = json.loads(out)
        return document


@pytest.fixture
def analyst(tmp_path: Path, linkage_service: RunningService) -> Iterator[Analyst]:
    with open_round(linkage_service, rows=50) as round_, StallingRelay(linkage_service.url) as relay:
        provider = round_.providers[0]
        manifest = flow.encode(provider, project_id=round_.project.id, extract=round_.extract(0))
        rng = np.random.default_rng(1)
        # A quarter of the bits set, as in filters: the service refuses bits that no encoder can have made.
        one, other = (rng.integers(256, size=SIZE_BYTES, dtype=np.uint8) for _ in range(2))
        content = (one & other).tobytes()
        folder = provider.folder / flow.ENCODED_FOLDER
        (folder / ENCODINGS_FILE).write_bytes(content)
        size = {"size_bytes": SIZE_BYTES, "count": SIZE_BYTES * 8 // manifest["bits"]}
        sha256 = hashlib.sha256(content).hexdigest()
        (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, **size, "sha256": sha256}))
        provider.profile.write_text(provider.profile.read_text().replace(linkage_service.url, relay.url))
        yield Analyst(round=round_, relay=relay, folder=folder, state=tmp_path / "state")


def test_upload_killed_at_every_stage_goes_on_and_sends_no_part_twice(analyst: Analyst) -> None:
    codes = [
        analyst.interrupt_after(1, declared, signal.SIGKILL),
        analyst.interrupt_after(1, part, signal.SIGKILL),
        analyst.interrupt_after(2, part, signal.SIGTERM),
        analyst.interrupt_after(1, completed, signal.SIGKILL),
    ]
    document = analyst.finish()

    answered = analyst.relay.answered
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, ExitCode.TERMINATED, -signal.SIGKILL]
    assert document["state"] == "complete"
    assert sum(map(declared, answered)) == 1
    assert Counter(found.path for found in answered if part(found)) == {
        f"/v1/uploads/{document['id']}/parts/{number}": 1 for number in range(1, PARTS + 1)
    }
    # The first command has no journal, and the second none yet: it was killed before it knew the id of the upload.
    assert sum(map(listed, answered)) == 2
    assert list(analyst.state.rglob("*.jsonl")) == []
