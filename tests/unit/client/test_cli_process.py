"""What the command does as a process: crash files, signals, secrets on the command line, progress, completion."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from linkage_client.cli import _session as session_module
from linkage_client.cli import cli
from linkage_client.cli._session import Session, amount, duration, progress_bar
from linkage_client.cli.exit_codes import ExitCode
from support.command import Linkage

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and core files are a matter of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="prctl is a matter of Linux")
# The command with another body, so that a test can look at it from inside.
PROGRAM = """
import signal, sys, threading
from linkage_client import cli
def body(*_, **__):
    {body}
cli.cli.main = body
cli.main([{arguments}])
"""


def _start(body: str, arguments: str = "") -> subprocess.Popen[str]:
    program = PROGRAM.format(body="\n    ".join(body.splitlines()), arguments=arguments)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


TIDY = """
try:
    print("ready", flush=True)
    while True:
        signal.pause()
finally:
    print("tidied", flush=True)
"""


@POSIX
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 143), ("SIGINT", 130)])
def test_command_that_is_told_to_end_tidies_up_first(name: str, code: int) -> None:
    with _start(TIDY, '"--json"') as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out.startswith("tidied\n{")
    assert f'"exit_code": {code}' in out
    assert "Traceback" not in err


@POSIX
def test_command_under_nohup_goes_on_when_the_terminal_closes() -> None:
    program = PROGRAM.format(body="print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)", arguments="")
    started = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{program}"
    done = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n"


LIMITS = "import resource; print(max(resource.getrlimit(resource.RLIMIT_CORE)))"


@POSIX
def test_crash_of_the_command_and_of_its_children_leaves_no_core_file() -> None:
    body = ("import os, subprocess", f"subprocess.run([sys.executable, '-c', {LIMITS!r}])", "os.abort()")
    with _start("\n".join(body)) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGABRT
    assert int(out) <= 1


@LINUX
def test_memory_of_the_command_cannot_be_dumped() -> None:
    with _start("import ctypes\nprint(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))") as process:
        out, _ = process.communicate(timeout=30)
    assert out == "0\n"


def test_thread_that_fails_says_so_without_values() -> None:
    body = """
def fail():
    raise RuntimeError("Ann Example, 1970-01-01")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
    with _start(body) as process:
        _, err = process.communicate(timeout=30)
    assert err == "A part of linkage failed (RuntimeError).\n"


def test_character_that_a_pipe_does_not_have_is_no_failure() -> None:
    program = PROGRAM.format(body="print('a \u2592 b')", arguments="")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=True)
    assert done.stdout.strip() == b"a \\u2592 b"


@pytest.mark.parametrize(
    "option",
    ["--secret", "--linkage-secret", "--password", "--passphrase", "--token", "--private-key", "--working-key"],
)
def test_secret_on_the_command_line_is_refused_without_repeating_it(linkage: Linkage, option: str) -> None:
    outcome = linkage("whoami", f"{option}=correct-horse")
    assert outcome.code == ExitCode.USAGE
    assert "no secret is taken from the command line" in outcome.err
    assert "correct-horse" not in outcome.out + outcome.err


def test_option_that_is_only_misspelt_gets_the_usual_answer(linkage: Linkage) -> None:
    assert "no secret" not in linkage("whoami", "--jsn").err


def test_exit_codes_are_listed(linkage: Linkage) -> None:
    assert linkage("exit-codes").out.splitlines()[0] == "  0  done"
    listed = linkage("exit-codes", "--json").json()["items"]
    assert {item["code"] for item in listed} == {code.value for code in ExitCode}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(linkage: Linkage, shell: str) -> None:
    assert "_LINKAGE_COMPLETE" in linkage("completion", shell).out


def _completed(words: str, number: int) -> list[str]:
    environment = {**os.environ, "_LINKAGE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = subprocess.run(
        [sys.executable, "-m", "linkage_client"], env=environment, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_and_options_are_completed() -> None:
    assert _completed("linkage audi", 1) == ["audit"]
    assert "--invitation-file" in _completed("linkage register --inv", 2)


def test_completion_of_commands_imports_none() -> None:
    program = (
        "import sys; from linkage_client.cli import cli; import click;"
        "names = [item.value for item in cli.shell_complete(click.Context(cli), '')];"
        "assert 'encode' in names; print([n for n in sys.modules if n.startswith('linkage_client.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['linkage_client.cli._lazy', 'linkage_client.cli.exit_codes']\n"


def test_profiles_are_completed(tmp_path: Path) -> None:
    for name in ("north", "south"):
        folder = tmp_path / "user" / "linkage" / "profiles" / name
        folder.mkdir(parents=True)
        (folder / "profile.toml").touch()
    assert _completed("linkage whoami --profile n", 3) == ["north"]


class SteppedTime:
    """Each look is so many seconds after the one before."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.moment = 0.0

    def __call__(self) -> float:
        self.moment += self.step_s
        return self.moment


def test_long_step_without_a_terminal_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Encoding", unit="rows", now=SteppedTime(20)) as advance:
        for done in range(1, 5):
            advance(done * 1000, 10_000)
    assert capsys.readouterr().err.splitlines() == [
        "Encoding: 2,000 of 10,000 rows (20%), 40 s, about 2 min 40 s left",
        "Encoding: 4,000 of 10,000 rows (40%), 1 min 20 s, about 2 min left",
    ]


def test_short_step_without_a_terminal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Encoding", unit="rows", now=SteppedTime(0.1)) as advance:
        for done in range(100):
            advance(done, None)
    assert capsys.readouterr().err == ""


def test_quiet_command_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(cli)
    context.meta[session_module._QUIET] = True
    with context, progress_bar("Encoding", now=SteppedTime(60)) as advance:
        advance(1, 2)
    assert capsys.readouterr().err == ""


def test_mistyped_command_is_answered_with_the_nearest(linkage: Linkage) -> None:
    outcome = linkage("chek", "extract.csv")
    assert outcome.code == ExitCode.USAGE
    assert "Did you mean `linkage check`?" in outcome.err


@pytest.mark.parametrize(
    ("number", "unit", "words"),
    [(1234, "rows", "1,234 rows"), (999, "bytes", "999 bytes"), (2_500_000, "bytes", "2.5 MB"), (7, "", "7")],
)
def test_amounts_are_written_with_their_unit(number: int, unit: session_module.Unit, words: str) -> None:
    assert amount(number, unit) == words


@pytest.mark.parametrize(
    ("speed", "unit", "words"),
    [(1_406_486, "rows", "1,410,000 rows/s"), (58_344, "pairs", "58,300 pairs/s"), (7.4, "rows", "7 rows/s")],
)
def test_rates_are_rounded_so_that_they_can_be_read(speed: float, unit: session_module.Unit, words: str) -> None:
    assert session_module.rate(speed, unit) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (7500, "2 h 5 min")]
)
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@POSIX
@pytest.mark.parametrize(("columns", "amounts"), [(120, b"1,000 of 1,000 rows"), (80, b"100% 1,000 rows")])
def test_bar_on_a_terminal_shows_what_there_is_room_for(columns: int, amounts: bytes) -> None:
    import pty

    program = (
        "from linkage_client.cli._session import progress_bar\n"
        "with progress_bar('Encoding', unit='rows') as advance:\n"
        "    for done in range(0, 1001, 250): advance(done, 1000)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 65_536):
            seen += block
    except OSError:
        pass
    finally:
        os.close(ours)
        process.wait(timeout=30)
    assert amounts in re.sub(rb"\x1b\[[0-9;]*m", b"", seen)
    assert b"100%" in seen


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_remark_on_a_terminal_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    Session(config=None, as_json=False).say("  " + "word " * 12 + "100 %")
    lines = terminal.getvalue().splitlines()
    assert [line.rstrip() for line in lines] == [
        "  word word word word word word word",
        "  word word word word word 100 %",
    ]


def test_remark_elsewhere_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Session(config=None, as_json=False).say("word " * 60)
    assert capsys.readouterr().err.count("\n") == 1


class _Thing(BaseModel):
    id: str
    name: str


@pytest.mark.parametrize(
    ("stream", "lines"),
    [(_Terminal, ["prj_1   north", "prj_22  south"]), (io.StringIO, ["prj_1\tnorth", "prj_22\tsouth"])],
    ids=["terminal", "file"],
)
def test_list_stands_in_columns_on_a_terminal_and_has_tabs_elsewhere(
    stream: type[io.StringIO], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    things = [_Thing(id="prj_1", name="north"), _Thing(id="prj_22", name="south")]
    Session(config=None, as_json=False).show_list(things, columns=("id", "name"))
    assert out.getvalue().splitlines() == lines
