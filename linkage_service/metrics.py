"""Figures for Prometheus, whose labels name routes, states and kinds, never a body, a person or a project.

The one module that knows prometheus_client. They are shown on a listener of their own, which a reverse proxy in front
of the API does not pass on, and which a network policy can keep to whoever collects them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from linkage_service.errors import NotReady

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
BlobFailure = Literal["absent", "damaged", "full", "unavailable"]
Limit = Literal["address", "caller", "public", "parts", "uploads", "quota", "host", "encoding", "slow"]
RunOutcome = Literal["succeeded", "failed", "left", "lost", "postponed", "refused"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that is read when it is asked for.

    Attributes:
        name: without a unit's abbreviation: seconds and bytes are spelled out at its end.
        what: one sentence for whoever looks at it.
        values: by the value of its one label, or by "" where it has none.
        label: the name of that label.
    """

    name: str
    what: str
    values: Mapping[str, float]
    label: str = ""


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Histogram(
            "linkage_http_request_duration_seconds",
            "How long requests took, by method, template of the route, and class of the status.",
            ("method", "route", "status_class"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._in_progress = Gauge(
            "linkage_http_requests_in_progress", "Requests that are being answered.", registry=self._registry
        )
        self._limited = Counter(
            "linkage_limited_requests_total",
            "Requests that a limit refused, by the limit.",
            ("limit",),
            registry=self._registry,
        )
        self._blob_errors = Counter(
            "linkage_blob_store_errors_total",
            "Failures of the blob store, by kind.",
            ("kind",),
            registry=self._registry,
        )
        self._runs = Counter(
            "linkage_worker_runs_total",
            "Runs that this worker had in hand, by what became of them.",
            ("outcome",),
            registry=self._registry,
        )
        build = Gauge("linkage_build_info", "1, by version.", ("version",), registry=self._registry)
        build.labels(version("linkage-service")).set(1)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Counts a request as being answered."""
        with self._in_progress.track_inprogress():
            yield

    def answered(self, *, method: str, route: str, status: int | None, seconds: float) -> None:
        """Counts a request that was answered; without a status the connection broke off."""
        known = method if method in _METHODS else "other"
        status_class = "none" if status is None else f"{status // 100}xx"
        self._requests.labels(known, route, status_class).observe(seconds)

    def limited(self, limit: Limit) -> None:
        """Counts a request that a limit refused."""
        self._limited.labels(limit).inc()

    def blob_failed(self, kind: BlobFailure) -> None:
        """Counts a failure of the blob store."""
        self._blob_errors.labels(kind).inc()

    def run_ended(self, outcome: RunOutcome) -> None:
        """Counts a run that a worker had in hand."""
        self._runs.labels(outcome).inc()

    def show(self, read: Callable[[], Iterable[Figure]]) -> None:
        """Has further figures read whenever somebody asks."""
        self._registry.register(_Read(read))

    def value(self, name: str, **labels: str) -> float | None:
        """One figure as it is now; None where there is none."""
        return self._registry.get_sample_value(name, labels)

    @contextmanager
    def shown_at(self, host: str, port: int) -> Iterator[int]:
        """Answers `GET /metrics` on a listener of its own for the block; gives its port.

        Raises:
            NotReady: the address cannot be used.
        """
        try:
            server, thread = start_http_server(port, addr=host, registry=self._registry)
        except OSError as error:
            raise NotReady(
                f"Port {port} of {host} cannot be used for metrics. Choose another in LINKAGE_METRICS_LISTEN."
            ) from error
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Read(Collector):
    """Reads figures, one reader at a time: scrapes must not pile up on a database that is slow."""

    def __init__(self, read: Callable[[], Iterable[Figure]]) -> None:
        self._figures = read
        self._one = threading.Lock()

    def describe(self) -> list[Any]:
        """Nothing, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures."""
        with self._one:
            figures = list(self._figures())
        for figure in figures:
            family = GaugeMetricFamily(figure.name, figure.what, labels=[figure.label] if figure.label else [])
            for label, value in figure.values.items():
                family.add_metric([label] if figure.label else [], value)
            yield family
