"""Figures for Prometheus: what they say, and what they never say."""

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text

from linkage_ledger.notes import SigningKey
from linkage_service.errors import NotReady
from linkage_service.figures import figures_of
from linkage_service.metrics import Metrics
from linkage_service.server import metrics_shown
from linkage_service.storage import StorageUnavailable
from linkage_service.worker import Worker
from support.databases import on_each_database
from support.service_app import ServiceApp, data_sets, ok, problem, service_app


def _figures(service: ServiceApp) -> dict[tuple[str, str], float]:
    return {
        (figure.name, label): value for figure in figures_of(service.runtime) for label, value in figure.values.items()
    }


@on_each_database
def test_figures_after_a_run_say_what_there_is(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    queued = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    service.clock.move(seconds=90)
    found = _figures(service)
    assert found["linkage_runs", "queued"] == 1
    assert 90 <= found["linkage_queue_oldest_age_seconds", ""] < 100
    assert found["linkage_workers", ""] == 0
    assert ("linkage_worker_seen_age_seconds", "") not in found
    assert service.work()
    service.keep_house()
    found = _figures(service)
    assert ok(linked.providers[0].get(f"/v1/runs/{queued['id']}"), 200)["state"] == "succeeded"
    assert (found["linkage_runs", "queued"], found["linkage_runs", "succeeded"]) == (0, 1)
    assert found["linkage_queue_oldest_age_seconds", ""] == 0
    assert found["linkage_workers", ""] == 1
    assert (found["linkage_uploads", "complete"], found["linkage_upload_bytes", "complete"]) == (2, 2 * 12 * 32)
    assert found["linkage_state_read", ""] == 1
    assert service.runtime.metrics.value("linkage_worker_runs_total", outcome="succeeded") == 1


def test_figures_of_a_ledger_without_a_checkpoint_tell_how_long_it_waits(service: ServiceApp) -> None:
    service.runtime.log.checkpoint(service.runtime.database)
    assert _figures(service)["linkage_ledger_unsigned_age_seconds", ""] == 0
    service.join()
    service.clock.move(seconds=300)
    found = _figures(service)
    assert 300 <= found["linkage_ledger_unsigned_age_seconds", ""] < 310
    assert found["linkage_ledger_checkpoint_size", ""] < found["linkage_ledger_size", ""] == service.size()


def test_figures_of_what_is_overdue_tell_late_from_held(service: ServiceApp) -> None:
    service.uploaded(*data_sets(12, 12, shared=6))
    service.clock.move(days=31)
    assert _figures(service)["linkage_retention_overdue", "late"] == 2
    service.sweep()
    found = _figures(service)
    assert (found["linkage_retention_overdue", "late"], found["linkage_retention_overdue", "hold"]) == (0, 0)
    assert 0 <= found["linkage_retention_sweep_age_seconds", ""] < 10


def test_worker_that_fell_silent_is_no_worker_any_more(service: ServiceApp) -> None:
    worker = Worker(service.runtime)
    worker.keep_house()
    assert _figures(service)["linkage_workers", ""] == 1
    service.clock.move(seconds=60)
    found = _figures(service)
    assert found["linkage_workers", ""] == 0
    assert 60 <= found["linkage_worker_seen_age_seconds", ""] < 61
    worker.keep_house()
    assert _figures(service)["linkage_workers", ""] == 1
    worker._leave()
    assert _figures(service)["linkage_workers", ""] == 0


def test_figures_without_a_database_are_those_of_the_process(service: ServiceApp) -> None:
    with service.runtime.database.writing() as session:
        session.execute(text("ALTER TABLE worker_presence RENAME TO gone"))
    found = _figures(service)
    assert found["linkage_state_read", ""] == 0
    assert ("linkage_runs", "queued") not in found
    assert found["linkage_disk_free_bytes", "data"] > 0


def test_failures_of_the_blob_store_are_counted_by_kind(service: ServiceApp, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = service.runtime.blobs
    key = blobs.new_data_key()
    with pytest.raises(Exception, match="not in the store"):
        blobs.get("uploads/upl_1/1", data_key=key)
    monkeypatch.setattr(type(blobs._blobs), "put", _refuses)
    with pytest.raises(StorageUnavailable):
        blobs.put("uploads/upl_1/1", b"x", data_key=key)
    values = {kind: service.runtime.metrics.value("linkage_blob_store_errors_total", kind=kind) for kind in KINDS}
    assert values == {"absent": 1, "damaged": None, "full": None, "unavailable": 1}


KINDS = ("absent", "damaged", "full", "unavailable")


def _refuses(*_: object) -> None:
    raise StorageUnavailable("no")


def test_listener_of_metrics_shows_routes_and_never_what_was_asked_for(service: ServiceApp) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    run = service.run(linked)
    problem(service.http.get("/v1/secrets-of-somebody"), 404)
    problem(service.http.request("BREW", "/v1/me"), 405)
    with service.runtime.metrics.shown_at("127.0.0.1", 0) as port:
        service.runtime.metrics.show(lambda: figures_of(service.runtime))
        shown = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    labels = '{method="GET",route="/v1/runs/{run_id}",status_class="2xx"}'
    assert f"linkage_http_request_duration_seconds_count{labels} 1.0" in shown
    assert 'route="unknown",status_class="4xx"' in shown
    assert 'linkage_runs{state="succeeded"} 1.0' in shown
    hidden = [linked.project, run["id"], *linked.uploads, *(party.organisation for party in linked.providers)]
    assert [word for word in [*hidden, "secrets-of-somebody", "BREW", "Organisation 1"] if word in shown] == []


def test_metrics_are_no_address_of_the_api(service: ServiceApp) -> None:
    problem(service.http.get("/metrics"), 404)


def test_listener_of_metrics_at_an_address_that_is_taken_is_not_ready() -> None:
    with (
        Metrics().shown_at("127.0.0.1", 0) as port,
        pytest.raises(NotReady, match="LINKAGE_METRICS_LISTEN"),
        Metrics().shown_at("127.0.0.1", port),
    ):
        pass


def test_settings_decide_whether_metrics_are_shown(
    service: ServiceApp, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with metrics_shown(service.runtime):
        assert service.runtime.metrics.value("linkage_runs", state="queued") is None
    with (
        service_app(tmp_path_factory.mktemp("shown"), metrics_listen="127.0.0.1:0") as other,
        metrics_shown(other.runtime),
    ):
        assert other.runtime.metrics.value("linkage_runs", state="queued") == 0


def test_readiness_names_the_part_that_is_unwell_and_turns_nobody_away_for_the_rest(service: ServiceApp) -> None:
    found = ok(service.http.get("/readyz"), 200)
    assert found["status"] == found["parts"]["workers"] == "degraded"
    service.keep_house()
    found = ok(service.http.get("/readyz"), 200)
    assert (found["status"], set(found["parts"].values())) == ("ok", {"ok"})
    service.clock.now += timedelta(minutes=30)
    found = ok(service.http.get("/readyz"), 200)
    assert (found["parts"]["workers"], found["parts"]["checkpoints"]) == ("degraded", "degraded")
    service.runtime.log.checkpoint(service.runtime.database)
    service.runtime.log._key = SigningKey.generate("log.linkage.test")
    answer = service.http.get("/readyz")
    assert (answer.status_code, answer.json()["parts"]["ledger_key"]) == (503, "unwell")


@pytest.mark.parametrize(("back_s", "state"), [(59, "ok"), (61, "degraded")])
def test_readiness_says_that_the_clock_is_behind_the_log_and_turns_nobody_away_for_it(
    service: ServiceApp, back_s: int, state: str
) -> None:
    ok(service.officer.get("/v1/audit/events"), 200)
    service.clock.now -= timedelta(seconds=back_s)
    assert ok(service.http.get("/readyz"), 200)["parts"]["clock"] == state


def test_liveness_looks_at_nothing(service: ServiceApp) -> None:
    with service.runtime.database.writing() as session:
        session.execute(text("DROP TABLE alembic_version"))
    problem_parts = service.http.get("/readyz").json()["parts"]
    assert problem_parts["migrations"] == "unwell"
    assert ok(service.http.get("/healthz"), 200) == {"status": "ok"}
