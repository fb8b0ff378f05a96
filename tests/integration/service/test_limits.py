"""Limits: what is too much, too slow, packed or meant for another host is refused, and told what to do."""

import asyncio
import gzip
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import HTTPException
from uvicorn.server import ServerState

from linkage_service.errors import Limited, TooSlow
from linkage_service.metrics import Metrics
from linkage_service.protection import Protection, _Patient, protocol_of
from linkage_service.settings import Settings
from linkage_service.throttle import Buckets, Throttle, _Rate
from support.service_app import PART_BYTES, ServiceApp, data_sets, ok, problem, service_app


@pytest.fixture
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServiceApp]]:
    """Makes services with limits of their own."""
    made: list[Any] = []

    def make(**settings: Any) -> ServiceApp:
        context = service_app(tmp_path_factory.mktemp("strict"), **settings)
        made.append(context)
        service: ServiceApp = context.__enter__()
        return service

    yield make
    for context in made:
        context.__exit__(None, None, None)


def test_bucket_refills_at_its_rate_and_holds_four_seconds_worth() -> None:
    now = [0.0]
    buckets = Buckets(2, now=lambda: now[0])
    assert [buckets.take("a") for _ in range(9)] == [0.0] * 8 + [0.5]
    assert buckets.take("b") == 0
    now[0] += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    now[0] += 1000
    assert [buckets.take("a") for _ in range(9)].count(0) == 8


def test_bucket_of_a_clock_that_went_back_gives_nothing_away() -> None:
    now = [1000.0]
    buckets = Buckets(1, now=lambda: now[0])
    assert [buckets.take("a") for _ in range(5)].count(0) == 4
    now[0] -= 500
    assert buckets.take("a") > 0
    now[0] += 1
    assert buckets.take("a") == 0


def test_bucket_without_a_rate_allows_all() -> None:
    buckets = Buckets(0)
    assert {buckets.take("a") for _ in range(1000)} == {0}


def test_processes_that_share_requests_share_the_rate(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, rate_per_address=8, api_processes=4)
    throttle = Throttle(settings, Metrics(), now=lambda: 0.0)
    for _ in range(8):
        throttle.address("192.0.2.1")
    with pytest.raises(Limited):
        throttle.address("192.0.2.1")


@pytest.mark.parametrize("limit", ["address", "public"])
@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_addresses_of_one_subscriber_share_a_limit(
    tmp_path: Path, limit: str, first: str, second: str, *, same: bool
) -> None:
    settings = Settings(data_dir=tmp_path, rate_per_address=0.25, rate_public=0.25)
    throttle = Throttle(settings, Metrics(), now=lambda: 0.0)
    getattr(throttle, limit)(first)
    with pytest.raises(Limited) if same else nullcontext():
        getattr(throttle, limit)(second)


def test_caller_that_asks_too_often_waits_and_others_do_not(strict: Callable[..., ServiceApp]) -> None:
    service = strict()
    first, second = service.join(), service.join()
    service.runtime.door.throttle._caller = _Rate("caller", Buckets(0.5, now=lambda: 0.0))
    answers = [first.get("/v1/me") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert problem(answers[2], 429, "limited")["title"] == "Too much at once"
    assert answers[2].headers["retry-after"] == "2"
    ok(second.get("/v1/me"), 200)
    assert service.runtime.metrics.value("linkage_limited_requests_total", limit="caller") == 1
    assert not any(event["outcome"]["code"] == "limited" for event in service.events())


def test_address_that_asks_too_often_is_refused_before_anybody_is_known(strict: Callable[..., ServiceApp]) -> None:
    service = strict(rate_per_address=0.001)
    answers = [service.http.get("/version") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["strict-transport-security"] == "max-age=31536000"


def test_strangers_may_try_fewer_tokens_than_they_may_read(strict: Callable[..., ServiceApp]) -> None:
    service = strict(rate_public=0.001)
    answers = [service.ask_for_token("no.token.this") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [422, 429]
    assert [service.http.get("/version").status_code for _ in range(5)] == [200] * 5


def test_upload_above_the_quota_of_its_organisation_is_refused(strict: Callable[..., ServiceApp]) -> None:
    rows, more = data_sets(12, 20, shared=0)
    service = strict(upload_quota_bytes=len(rows) + len(more) - 1)
    linked = service.project()
    provider = linked.providers[0]
    upload = provider.upload(linked.project, rows)
    problem(provider.declare(linked.project, more), 413, "upload_quota")
    ok(linked.providers[1].declare(linked.project, more), 201)
    ok(provider.delete(f"/v1/uploads/{upload}"), 204)
    ok(provider.declare(linked.project, more), 201)


def test_uploads_that_are_never_completed_are_limited(strict: Callable[..., ServiceApp]) -> None:
    service = strict(uploads_open_max=1)
    linked = service.project()
    provider = linked.providers[0]
    other = ok(service.open_project(provider, linked.agreement), 201)["id"]
    (rows,) = data_sets(12, shared=0)
    ok(provider.declare(linked.project, rows), 201)
    ok(provider.declare(linked.project, rows), 201)
    answer = provider.declare(other, rows)
    problem(answer, 429, "too_many_uploads")
    assert answer.headers["retry-after"] == "60"
    provider.upload(linked.project, rows)
    ok(provider.declare(other, rows), 201)


def test_parts_at_once_are_limited_for_each_organisation_and_in_all(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, parts_at_once=3, parts_at_once_per_organisation=2)
    throttle = Throttle(settings, Metrics())
    with throttle.part_of("org_1"), throttle.part_of("org_1"):
        with pytest.raises(Limited, match="on their way"), throttle.part_of("org_1"):
            pass
        with throttle.part_of("org_2"), pytest.raises(Limited), throttle.part_of("org_3"):
            pass
    with throttle.part_of("org_1"), throttle.part_of("org_1"):
        pass


def test_part_beyond_the_limit_is_sent_again_later(strict: Callable[..., ServiceApp]) -> None:
    service = strict(parts_at_once_per_organisation=1)
    linked = service.project()
    provider = linked.providers[0]
    (rows,) = data_sets(12, shared=0)
    upload = ok(provider.declare(linked.project, rows), 201)["id"]
    with service.runtime.door.throttle.part_of(provider.organisation):
        answer = provider.put_part(upload, 1, rows[:PART_BYTES])
    problem(answer, 429, "limited")
    assert answer.headers["retry-after"] == "1"
    ok(provider.put_part(upload, 1, rows[:PART_BYTES]), 204)


def test_part_of_somebody_who_may_not_send_it_takes_no_place(strict: Callable[..., ServiceApp]) -> None:
    service = strict(parts_at_once=1)
    linked = service.project()
    (rows,) = data_sets(12, shared=0)
    upload = ok(linked.providers[0].declare(linked.project, rows), 201)["id"]
    stranger = service.join()
    with service.runtime.door.throttle.part_of(linked.providers[0].organisation):
        problem(stranger.put_part(upload, 1, rows[:PART_BYTES]), 404)


def test_part_that_comes_slower_than_its_least_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("linkage_service.protection.time.monotonic", lambda: now[0])

    async def read() -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        chunks = _received([b"a" * 2**18] * 2, then=never)

        async def receive() -> Any:
            # 13 KiB a second: enough for another body.
            now[0] += 20
            return await chunks()

        async def application(_scope: Any, patient: Any, _send: Any) -> None:
            for _ in range(2):
                await patient()
            with pytest.raises(HTTPException):
                await patient()

        settings, metrics = Settings(development=True), Metrics()
        protection = Protection(
            application, settings=settings, issuer=str, throttle=Throttle(settings, metrics), metrics=metrics
        )

        async def send(_: Any) -> None:
            raise AssertionError

        scope = {"type": "http", "method": "PUT", "path": "/v1/uploads/upl_1/parts/1", "headers": []}
        await protection(scope, receive, send)

    asyncio.run(read())


def test_body_that_is_compressed_is_not_unpacked(service: ServiceApp) -> None:
    provider = service.join()
    body = gzip.compress(json.dumps({"name": " " * 10_000_000}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    problem(provider.post("/v1/agreements", content=body, headers=headers), 415, "content_encoded")
    ok(provider.get("/v1/me", headers={"Content-Encoding": "identity"}), 200)


@pytest.mark.parametrize("host", ["evil.example", "linkage.test.evil.example", "[", "127.0.0.1.evil.example", ""])
def test_request_for_another_host_is_misdirected(service: ServiceApp, host: str) -> None:
    problem(service.http.get("/version", headers={"Host": host}), 421, "unknown_host")


@pytest.mark.parametrize("host", ["LINKAGE.test", "linkage.test:8443", "localhost:8080", "127.0.0.1", "[::1]:80"])
def test_request_for_the_issuer_or_this_machine_is_taken(service: ServiceApp, host: str) -> None:
    ok(service.http.get("/version", headers={"Host": host}), 200)


def test_request_for_a_host_that_the_operator_names_is_taken(strict: Callable[..., ServiceApp]) -> None:
    service = strict(hosts=frozenset({"Internal.Example"}))
    ok(service.http.get("/version", headers={"Host": "internal.example:80"}), 200)
    problem(service.http.get("/version", headers={"Host": "other.example"}), 421)
    everywhere = strict(hosts=frozenset({"*"}))
    ok(everywhere.http.get("/version", headers={"Host": "other.example"}), 200)


def test_probes_may_name_the_address_that_the_process_happens_to_have(service: ServiceApp) -> None:
    ok(service.http.get("/healthz", headers={"Host": "10.1.2.3:8080"}), 200)
    ok(service.http.get("/readyz", headers={"Host": "10.1.2.3:8080"}), 200)


def test_service_at_plain_http_says_nothing_of_https(strict: Callable[..., ServiceApp]) -> None:
    service = strict(issuer="http://127.0.0.1:8000")
    assert "strict-transport-security" not in service.http.get("http://127.0.0.1:8000/version").headers


def _received(chunks: list[bytes], *, then: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    rest = iter(chunks)

    async def receive() -> Any:
        chunk = next(rest, None)
        if chunk is None:
            return await then()
        return {"type": "http.request", "body": chunk, "more_body": True}

    return receive


def test_body_that_stops_coming_is_given_up() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    metrics = Metrics()

    async def read() -> None:
        patient = _Patient(_received([b"abc"], then=never), 0.01, metrics)
        assert (await patient())["body"] == b"abc"
        with pytest.raises(HTTPException) as caught:
            await patient()
        assert isinstance(caught.value.__cause__, TooSlow)

    asyncio.run(read())
    assert metrics.value("linkage_limited_requests_total", limit="slow") == 1


def test_time_that_the_service_takes_before_and_between_reads_is_not_the_bodys(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("linkage_service.protection.time.monotonic", lambda: now[0])

    async def end() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def read() -> None:
        patient = _Patient(_received([b"abc"], then=end), 30, Metrics())
        now[0] += 1000
        assert (await patient())["body"] == b"abc"
        now[0] += 1000
        assert (await patient())["more_body"] is False

    asyncio.run(read())


def test_body_that_has_arrived_is_taken_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("linkage_service.protection.time.monotonic", lambda: now[0])

    async def read() -> None:
        there = asyncio.Event()

        async def receive() -> Any:
            # The process stalls while the body arrives, and reads it in its next turn.
            now[0] += 1000
            asyncio.get_running_loop().call_soon(there.set)
            await there.wait()
            there.clear()
            return {"type": "http.request", "body": b"a", "more_body": True}

        patient = _Patient(receive, 30, Metrics())
        for _ in range(3):
            assert (await patient())["body"] == b"a"

    asyncio.run(read())


def test_caller_who_waits_for_a_long_answer_is_not_hurried() -> None:
    gone = {"type": "http.disconnect"}

    async def read() -> None:
        left = asyncio.Event()

        async def last() -> Any:
            if not left.is_set():
                left.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            for _ in range(20):
                await asyncio.sleep(0.005)
            return gone

        patient = _Patient(last, 0.01, Metrics())
        assert (await patient())["more_body"] is False
        assert await patient() == gone

    asyncio.run(read())


def test_request_that_was_sent_ahead_is_not_hurried_while_it_is_answered() -> None:
    async def exchange() -> None:
        second, asked = asyncio.Event(), []

        async def application(_scope: Any, _receive: Any, send: Any) -> None:
            asked.append(1)
            if len(asked) > 1:
                second.set()
                await asyncio.Event().wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        config = uvicorn.Config(application, log_config=None, lifespan="off")
        config.load()
        protocol = protocol_of(60)(config, ServerState(), {})
        transport = _Silent()
        protocol.connection_made(transport)
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        await second.wait()
        assert protocol._head_due is None  # type: ignore[attr-defined]  # of a class made in a function
        protocol.connection_lost(None)

    asyncio.run(exchange())


class _Silent(asyncio.Transport):
    """A connection on which everything is lost."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def test_every_route_says_when_it_may_be_limited(service: ServiceApp) -> None:
    paths = service.app.openapi()["paths"]
    silent = [
        path for path, item in paths.items() for operation in item.values() if "429" not in operation["responses"]
    ]
    assert silent == []


def test_buckets_are_safe_among_threads() -> None:
    buckets = Buckets(25, now=lambda: 0.0)
    taken: list[float] = []
    threads = [threading.Thread(target=lambda: taken.extend(buckets.take("a") for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(0.0) == 100
