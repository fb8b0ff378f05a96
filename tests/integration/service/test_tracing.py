"""Traces: one from the request for a run to its units, and nothing in them that a log line may not hold."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from linkage_service.app import create_app
from linkage_service.errors import NotReady
from linkage_service.logs import ALLOWED
from linkage_service.tracing import KeptTracing, NoTracing, tracing_of, valid_traceparent
from support.service_app import ServiceApp, client_of, data_sets, ok

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exporter(service: ServiceApp) -> Iterator[InMemorySpanExporter]:
    """What the service and its worker send to a collector."""
    exporter = InMemorySpanExporter()
    tracing = KeptTracing(exporter)
    service.runtime = replace(service.runtime, tracing=tracing)
    service.app = create_app(service.runtime)
    service.http.close()
    service.http = client_of(service.app)
    yield exporter
    tracing.close()


def _sent(service: ServiceApp, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    tracing = service.runtime.tracing
    assert isinstance(tracing, KeptTracing)
    assert tracing._provider.force_flush()
    return list(exporter.get_finished_spans())


def _trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def test_trace_of_a_run_goes_from_its_request_to_its_units(service: ServiceApp, exporter: InMemorySpanExporter) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    run = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}, headers=headers), 202)["id"]
    assert service.work()
    spans = [span for span in _sent(service, exporter) if _trace_of(span) == TRACE]
    by_name = {span.name: span for span in spans}
    assert by_name.keys() == {
        "/v1/projects/{project_id}/runs", "run", "load", "match", "unit", "store", "finish",
    }  # fmt: skip
    parents = {
        name: next(
            (
                other.name
                for other in spans
                if span.parent and other.context and other.context.span_id == span.parent.span_id
            ),
            "",
        )
        for name, span in by_name.items()
    }
    assert parents == {
        "/v1/projects/{project_id}/runs": "", "run": "/v1/projects/{project_id}/runs", "load": "run", "match": "run",
        "unit": "match", "store": "run", "finish": "run",
    }  # fmt: skip
    assert dict(by_name["run"].attributes or {})["linkage.run"] == run
    assert dict(by_name["run"].attributes or {})["linkage.state"] == "succeeded"


def test_spans_hold_what_a_log_line_may_hold_and_nothing_else(
    service: ServiceApp, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ValueError("the name of somebody")

    monkeypatch.setattr("linkage_service.engine.match", failing)
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)
    with pytest.raises(ValueError, match="somebody"):
        service.work()
    spans = _sent(service, exporter)
    names = {name for span in spans for name in span.attributes or {}}
    assert names <= {f"linkage.{name}" for name in ALLOWED}
    failed = next(span for span in spans if span.name == "match")
    assert dict(failed.attributes or {}) == {"linkage.error_type": "ValueError"}
    assert [event for span in spans for event in span.events] == []
    assert "somebody" not in "".join(span.to_json() for span in spans)


def test_span_drops_what_is_not_on_the_list(service: ServiceApp, exporter: InMemorySpanExporter) -> None:
    with service.runtime.tracing.span("request", run="run_1", surname="Smith", email=None) as span:
        span.note(statement="SELECT", state="queued")
    assert dict(_sent(service, exporter)[-1].attributes or {}) == {"linkage.run": "run_1", "linkage.state": "queued"}


def test_share_of_none_keeps_no_trace_whatever_a_caller_asks_for() -> None:
    exporter = InMemorySpanExporter()
    tracing = KeptTracing(exporter, share=0)
    with tracing.span("request", parent=f"00-{TRACE}-{SPAN}-01"):
        pass
    tracing.close()
    assert exporter.get_finished_spans() == ()


def test_small_ids_of_traces_are_kept_as_rarely_as_others() -> None:
    exporter = InMemorySpanExporter()
    tracing = KeptTracing(exporter, share=0.1)
    for number in range(1, 1001):
        with tracing.span("request", parent=f"00-{number:032x}-{number:016x}-01"):
            pass
    tracing.close()
    # Nine standard deviations on either side.
    assert 15 < len(exporter.get_finished_spans()) < 185


@pytest.mark.parametrize(("flag", "kept"), [("00", 0), ("01", 1)])
def test_worker_keeps_what_the_api_kept(flag: str, kept: int) -> None:
    exporter = InMemorySpanExporter()
    tracing = KeptTracing(exporter, share=0.5, process="worker")
    with tracing.span("run", parent=f"00-{1:032x}-{1:016x}-{flag}"), tracing.span("unit"):
        pass
    tracing.close()
    assert len(exporter.get_finished_spans()) == 2 * kept


@pytest.mark.parametrize(
    "text",
    ["", "00-1-2-01", f"00-{TRACE}-{SPAN}-01\n", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", None],
)
def test_traceparent_of_another_form_is_none(text: str | None) -> None:
    assert valid_traceparent(text) is None
    assert valid_traceparent(f"00-{TRACE}-{SPAN}-01") is not None


def test_run_of_a_service_without_traces_keeps_none(service: ServiceApp) -> None:
    assert isinstance(service.runtime.tracing, NoTracing)
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}, headers=headers), 202)
    with service.runtime.database.reading() as session:
        kept = session.connection().exec_driver_sql("SELECT traceparent FROM run").scalars().all()
    assert kept == [None]


def test_traces_that_are_asked_for_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(NotReady, match=r"linkage-service\[telemetry\]"):
        tracing_of("http://127.0.0.1:4318/v1/traces", share=1, process="api")
    assert isinstance(tracing_of(None, share=1, process="api"), NoTracing)
