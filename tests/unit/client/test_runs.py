from typing import Any

import pytest

from linkage_client.client import LinkageClient
from linkage_client.errors import RunEndedError, RunStillGoingError
from support.fake_service import Asked, FakeService, Reply, run


def _script(service: FakeService, states: list[dict[str, Any]]) -> None:
    remaining = iter(states)

    def answer(_: Asked) -> Reply:
        return Reply(content=next(remaining))

    service.on("GET", "/v1/runs/run_1", answer)


def test_wait_for_a_run_that_succeeds_reports_each_state(client: LinkageClient, service: FakeService) -> None:
    _script(service, [run("queued"), run("running"), run("succeeded")])
    seen: list[str] = []
    ended = client.runs.wait(run_id="run_1", progress=lambda state: seen.append(state.state))
    assert ended.state == "succeeded"
    assert seen == ["queued", "running", "succeeded"]
    polls = [asked.headers.get("prefer") for asked in service.asked if asked.path == "/v1/runs/run_1"]
    assert polls == [None, "wait=2", "wait=2"]


def test_wait_that_nobody_watches_asks_seldom(client: LinkageClient, service: FakeService) -> None:
    _script(service, [run("queued"), run("succeeded")])
    client.runs.wait(run_id="run_1")
    assert service.asked[-1].headers["prefer"] == "wait=20"


def test_wait_for_a_service_that_does_not_hold_requests_pauses(
    client: LinkageClient, service: FakeService, hand_clock: Any
) -> None:
    _script(service, [run("running")] * 4 + [run("succeeded")])
    before = hand_clock.seconds
    client.runs.wait(run_id="run_1")
    assert hand_clock.seconds - before == pytest.approx(3.0)


def test_wait_for_a_run_that_fails_raises_its_problem(client: LinkageClient, service: FakeService) -> None:
    _script(service, [run("failed", error={"code": "no_memory", "detail": "Too little memory."})])
    with pytest.raises(RunEndedError, match="Too little memory") as caught:
        client.runs.wait(run_id="run_1")
    assert caught.value.problem is not None
    assert caught.value.problem["code"] == "no_memory"


def test_wait_for_a_cancelled_run_raises(client: LinkageClient, service: FakeService) -> None:
    _script(service, [run("cancelled")])
    with pytest.raises(RunEndedError, match="cancelled"):
        client.runs.wait(run_id="run_1")


def test_wait_beyond_the_timeout_raises_and_the_run_goes_on(client: LinkageClient, service: FakeService) -> None:
    _script(service, [run("running")] * 9)
    with pytest.raises(RunStillGoingError):
        client.runs.wait(run_id="run_1", timeout_s=2.5)
    assert not any(path.endswith(":cancel") for path in service.paths("POST"))


def test_start_without_a_threshold_leaves_it_to_the_service(client: LinkageClient, service: FakeService) -> None:
    service.on("POST", "/v1/projects/prj_1/runs", Reply(202, run("queued")))
    client.runs.start(project_id="prj_1")
    client.runs.start(project_id="prj_1", threshold=0.9)
    assert [asked.json() for asked in service.asked if asked.path.endswith("/runs")] == [{}, {"threshold": 0.9}]
