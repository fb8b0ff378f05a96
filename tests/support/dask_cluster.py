"""A real Dask cluster: scheduler and workers as processes of their own on the loopback interface."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from linkage_matching.dask_executor import Certificates

_PATIENCE_S = 60.0


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Return once the condition holds; fail when it does not within a minute."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


class DaskCluster:
    """Starts the commands that an operator starts; ends them all on exit."""

    def __init__(self, folder: Path, *, certificates: Certificates | None = None) -> None:
        self._folder = folder
        self._certificates = certificates
        self._started = 0
        self.port = 0
        self.scheduler = self._start_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"{'tls' if self._certificates else 'tcp'}://127.0.0.1:{self.port}"

    def start_workers(self, count: int, *, threads: int = 1) -> None:
        """Start workers without waiting for them: units wait by themselves."""
        for _ in range(count):
            self.workers.append(
                self._start(
                    "worker",
                    self.address,
                    f"--host={self.address.split(':')[0]}://127.0.0.1",
                    "--no-nanny",
                    "--dashboard-address=127.0.0.1:0",
                    f"--nthreads={threads}",
                    "--memory-limit=0",
                    f"--local-directory={self._folder}",
                )
            )

    def wait_for_workers(self, count: int) -> None:
        """Return once the scheduler has seen so many workers."""
        wait_until(lambda: self.logs().count("Register worker addr") >= count, what="the workers came")

    def kill_worker(self) -> None:
        """End the worker that was started last, without a word of farewell."""
        _kill(self.workers.pop())

    def kill_scheduler(self) -> None:
        """End the scheduler likewise, and its workers, which give up without one."""
        for process in [self.scheduler, *self.workers]:
            _kill(process)
        self.workers.clear()

    def restart_scheduler(self) -> None:
        """Start another scheduler at the same address, which knows nothing of the one before."""
        self.scheduler = self._start_scheduler()

    def logs(self) -> str:
        """Everything that any of the processes wrote."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.workers, self.scheduler]:
            _kill(process)

    def _start_scheduler(self) -> subprocess.Popen[bytes]:
        described = self._folder / f"scheduler-{self._started}.json"
        process = self._start(
            "scheduler",
            "--host=127.0.0.1",
            f"--port={self.port}",
            "--dashboard-address=127.0.0.1:0",
            f"--scheduler-file={described}",
        )
        wait_until(lambda: _is_whole(described), what="the scheduler wrote its file")
        self.port = int(json.loads(described.read_text())["address"].rsplit(":", 1)[1])
        return process

    def _tls(self) -> list[str]:
        if self._certificates is None:
            return []
        return [
            f"--tls-ca-file={self._certificates.authority}",
            f"--tls-cert={self._certificates.certificate}",
            f"--tls-key={self._certificates.key}",
        ]

    def _start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        self._started += 1
        log = self._folder / f"{self._started}-{command}.log"
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", command, *arguments, *self._tls()],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(self._folder)},
            )


def make_certificates(folder: Path) -> Certificates:
    """A certificate that is its own authority, and stands for scheduler, workers and client alike."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificates(folder / "cluster.pem", folder / "cluster.pem", folder / "cluster.key")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def _is_whole(path: Path) -> bool:
    try:
        return "address" in json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(_PATIENCE_S)
