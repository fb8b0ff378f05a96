"""A clock that steps by a day, back and forth, between and during the requests of a round."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from linkage_client import LinkageClient
from linkage_client._authentication import Clock
from linkage_client.config import load_profile
from linkage_client.demo import flow
from linkage_client.demo.agreement import PURPOSE
from linkage_client.encoding.package import ENCODINGS_FILE
from linkage_client.errors import NotAuthenticatedError, PolicyRefusalError
from linkage_client.keystore import client_key_of
from linkage_client.models import Manifest, Project, Run, Upload
from linkage_client.testing.rounds import Round, open_round
from linkage_client.testing.service import RunningService
from support.stepped_clock import SteppedClock
from support.topology import wait_for

ROWS, PART_BYTES, DAY_S = 300, 4096, 86_400
# Housekeeping once a second, so that every step of the clock meets it.
SETTINGS = {"LINKAGE_LEASE_S": "3", "LINKAGE_RETENTION_S": "1"}


@contextmanager
def beside(member: flow.Member, clock: SteppedClock) -> Iterator[LinkageClient]:
    """A client of the member on a machine whose clock steps with that of the service."""
    profile = load_profile(member.profile)
    with LinkageClient(
        service_url=profile.service_url,
        client_id=profile.client_id,
        client_key=client_key_of(profile),
        clock=Clock(now=clock.now),
        ledgers_folder=None,
    ) as client:
        yield client


def encoded(round_: Round, place: int) -> tuple[Manifest, Path]:
    member = round_.providers[place]
    manifest = flow.encode(member, project_id=round_.project.id, extract=round_.extract(place))
    return Manifest.model_validate(manifest), member.folder / flow.ENCODED_FOLDER / ENCODINGS_FILE


def refusal(client: LinkageClient) -> tuple[int, str]:
    with pytest.raises(NotAuthenticatedError) as found:
        client.me()
    assert "heck this machine's clock" in found.value.message
    return found.value.status, found.value.code


def upload_between_steps(round_: Round, clock: SteppedClock) -> Upload:
    """By a machine whose clock is right: it is told why it is refused, and goes on by itself when it is not."""
    client = round_.providers[0].client
    manifest, encodings = encoded(round_, 0)
    declared = client.uploads.declare(project_id=round_.project.id, manifest=manifest, part_size_bytes=PART_BYTES)
    client.uploads.put_part(upload_id=declared.id, number=1, content=encodings.read_bytes()[:PART_BYTES])
    clock.step(-DAY_S)
    assert refusal(client) == (401, "assertion_early")
    clock.step(DAY_S)
    assert refusal(client) == (401, "assertion_expired")
    clock.step(0)
    assert client.uploads.get(upload_id=declared.id).parts_received == [1]
    sent: list[int] = []
    finished = client.uploads.send(
        project_id=round_.project.id, manifest=manifest, encodings=encodings, progress=lambda now, _: sent.append(now)
    )
    assert (finished.id, sent[0]) == (declared.id, PART_BYTES)
    return finished


def upload_across_a_step(round_: Round, client: LinkageClient, clock: SteppedClock) -> Upload:
    """By a machine whose clock steps too, in the middle of what it sends: it needs another token, and gets it."""
    manifest, encodings = encoded(round_, 1)

    def step(_sent: int, _total: int) -> None:
        clock.step(DAY_S)

    return client.uploads.send(
        project_id=round_.project.id,
        manifest=manifest,
        encodings=encodings,
        part_size_bytes=PART_BYTES,
        progress=step,
    )


def policies_refusing(act: Callable[[], object]) -> list[str]:
    try:
        act()
    except PolicyRefusalError as refused:
        return [element.policy for element in refused.elements]
    return []


def go_on(round_: Round) -> None:
    """The log ends a day ahead: one decision at most is refused for it, and the event of that is of the right time."""

    def look() -> Project:
        return round_.recipient.client.projects.get(project_id=round_.project.id)

    assert policies_refusing(look) in ([], ["G8-clock"])
    assert look().state == "open"


def value_of(service: RunningService, query: str) -> Any:
    with closing(sqlite3.connect(service.data_dir / "linkage.db", timeout=60)) as connection:
        return connection.execute(query).fetchone()[0]


def moment_of(service: RunningService, query: str) -> datetime:
    found = value_of(service, query)
    return datetime.min.replace(tzinfo=UTC) if found is None else datetime.fromisoformat(found).replace(tzinfo=UTC)


def run_across_steps(round_: Round, clock: SteppedClock) -> Run:
    runs, service = round_.recipient.client.runs, round_.service
    run = runs.start(project_id=round_.project.id)

    def is_running() -> bool:
        return bool(value_of(service, f"SELECT state = 'running' FROM run WHERE id = '{run.id}'"))  # noqa: S608 - an id

    def follows() -> bool:
        lease = moment_of(service, f"SELECT lease_expires_at FROM run WHERE id = '{run.id}'")  # noqa: S608 - an id
        return not is_running() or abs(lease - clock.time()) < timedelta(hours=1)

    def is_due() -> bool:
        return bool(value_of(service, f"SELECT state <> 'running' OR phase = 'clock' FROM run WHERE id = '{run.id}'"))  # noqa: S608 - an id

    wait_for(is_running, what="a worker had the run")
    met = 0
    for off_by_s in (DAY_S, -DAY_S):
        clock.step(off_by_s)
        wait_for(follows, what="the worker met the step")
        met += is_running()
    assert met, "the run had ended before"
    # The clock is behind the log, so the result waits.
    wait_for(is_due, what="the result was due")
    clock.step(0)
    # The log may be ahead, if anything happened then: who asks next sets that right.
    go_on(round_)
    return runs.wait(run_id=run.id, timeout_s=90)


def report_of(round_: Round, run: Run) -> dict[str, Any]:
    found = round_.recipient.client.runs.report(run_id=run.id).model_dump()
    return {name: value for name, value in found.items() if name != "run"}


def test_round_across_steps_of_the_clock_ends_as_any_other(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path / "clock")
    with (
        RunningService(tmp_path, settings={**SETTINGS, **clock.settings}) as service,
        open_round(service, rows=ROWS) as round_,
        beside(round_.providers[1], clock) as provider,
        beside(round_.recipient, clock) as recipient,
    ):
        uploads = [upload_between_steps(round_, clock), upload_across_a_step(round_, provider, clock)]
        assert [upload.state for upload in uploads] == ["complete", "complete"]
        clock.step(0)
        go_on(round_)
        finished = run_across_steps(round_, clock)
        undisturbed = round_.match()
        assert (finished.state, finished.attempt) == (undisturbed.state, undisturbed.attempt) == ("succeeded", 1)
        assert report_of(round_, finished) == report_of(round_, undisturbed)

        clock.step(DAY_S)
        granted = recipient.releases.create(run_id=finished.id, purpose=PURPOSE, mode="blind")
        clock.step(0)
        table = provider.releases.link_table(release_id=granted.id)
        next(table)
        clock.step(-DAY_S)
        assert len(list(table)) == ROWS - 1
        clock.step(0)
        assert [flow.retrieve(member, release_id=granted.id) for member in round_.providers] == [ROWS, ROWS]

        # What was done by a clock that was ahead does not keep housekeeping waiting for a day.
        since = clock.time()
        wait_for(lambda: since <= swept_at(service) <= clock.time(), what="there was a sweep")
        events = list(service.unit.officer.client.audit.events())
        assert [event.seq for event in events] == list(range(len(events)))
        happened = Counter(event.header["type"] for event in events)
        assert [happened[name] for name in ("upload.completed", "run.succeeded", "release.granted")] == [2, 2, 1]
        assert not [name for name in happened if "deleted" in name or "disposed" in name]
        _, kept = flow.keep_checkpoint(service.unit, round_.recipient)
        report = service.verify_ledger(against=kept)
        assert report["verified"], report["findings"]


def swept_at(service: RunningService) -> datetime:
    return moment_of(service, "SELECT done_at FROM housekeeping_claim WHERE name = 'sweep'")
