"""Traces follow a run from the request that asked for it to its units of work. Off unless an endpoint is set.

The one module that knows OpenTelemetry, which is an extra. A span holds what a log line may hold (`logs.ALLOWED`) and
nothing else: no statement of the database, no parameter, no message of an error. A request's parent is taken from its
`traceparent` (W3C Trace Context), whose ids are numbers by whoever sent it; whether a trace is kept follows from its id
and a secret of the process, so nobody can have more kept than the operator chose. A worker keeps what the API kept.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import blake2b
from importlib.metadata import version
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol

from linkage_matching import Dataset, Executor
from linkage_matching.pairs import Cancelled, Progress
from linkage_matching.unit_store import UnitStore
from linkage_matching.units import Unit, UnitResult
from linkage_service.errors import NotReady
from linkage_service.logs import ALLOWED

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SENT_WITHIN_MS = 5000


class Span(Protocol):
    """A piece of work that is timed."""

    @property
    def traceparent(self) -> str | None:
        """Names this span to whoever continues it; None where none are kept."""

    def note(self, **attributes: str | float | bool | None) -> None:
        """Adds what a log line may hold; the rest is dropped."""

    def call(self, name: str) -> None:
        """Gives it another name."""


class Tracing(Protocol):
    """Makes spans."""

    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> AbstractContextManager[Span]:
        """A span for the block, below the one that `parent` names, else below the one that this thread is in."""

    def executor(self, inner: Executor) -> Executor:
        """The same executor, with a span for each unit that comes back."""

    def close(self) -> None:
        """Sends what was not sent yet."""


class NoTracing:
    """Keeps nothing."""

    traceparent = None

    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> AbstractContextManager[Span]:  # noqa: ARG002 - interface
        """Itself."""
        return nullcontext(self)

    def note(self, **attributes: str | float | bool | None) -> None:
        """Nothing."""

    def call(self, name: str) -> None:
        """Nothing."""

    def executor(self, inner: Executor) -> Executor:
        """The executor as it is."""
        return inner

    def close(self) -> None:
        """Nothing."""


def tracing_of(endpoint: str | None, *, share: float, process: str) -> Tracing:
    """Traces that go to an OTLP endpoint, or none.

    Args:
        endpoint: http(s) address of a collector; None for no traces.
        share: of traces that are kept, 0 to 1.
        process: the kind of process: `api` or `worker`.

    Raises:
        NotReady: traces are asked for, and the extra is not installed.
    """
    if endpoint is None:
        return NoTracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise NotReady(
            "LINKAGE_TRACES_ENDPOINT asks for traces, and their package is not installed. Install "
            "linkage-service[telemetry], or leave the setting out."
        ) from error
    return KeptTracing(OTLPSpanExporter(endpoint=endpoint), share=share, process=process)


class KeptTracing:
    """Hands spans to an exporter, from a thread of its own."""

    def __init__(self, exporter: "SpanExporter", *, share: float = 1.0, process: str = "api") -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

        name = {"service.name": f"linkage-{process}", "service.version": version("linkage-service")}
        self._provider = TracerProvider(
            resource=Resource(name), sampler=_sampler(share, process=process), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("linkage_service")

    @contextmanager
    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> Iterator[Span]:
        """See Tracing."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

        with self._tracer.start_as_current_span(
            name, context=_context(parent), record_exception=False, set_status_on_exception=False
        ) as inner:
            kept = _Kept(inner)
            kept.note(**attributes)
            try:
                yield kept
            except Exception as error:
                # The name of the class only: a message may quote what a statement was given.
                kept.note(error_type=type(error).__name__)
                inner.set_status(Status(StatusCode.ERROR))
                raise

    def unit(self, began_ns: int) -> None:
        """Notes a unit of work that came back just now."""
        self._tracer.start_span("unit", start_time=began_ns).end()

    def executor(self, inner: Executor) -> Executor:
        """See Tracing."""
        return _TracedExecutor(inner, self)

    def close(self) -> None:
        """See Tracing."""
        self._provider.force_flush(_SENT_WITHIN_MS)
        self._provider.shutdown()


class _Kept:
    """A span that is kept."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def traceparent(self) -> str | None:
        """See Span."""
        context = self._inner.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, **attributes: str | float | bool | None) -> None:
        """See Span."""
        self._inner.set_attributes(
            {f"linkage.{name}": value for name, value in attributes.items() if name in ALLOWED and value is not None}
        )

    def call(self, name: str) -> None:
        """See Span."""
        self._inner.update_name(name)


class _TracedExecutor:
    """Notes when each unit came back. Where several are under way at once, a span is the time since the one before."""

    def __init__(self, inner: Executor, tracing: KeptTracing) -> None:
        self._inner = inner
        self._tracing = tracing

    def run(
        self,
        units: Sequence[Unit],
        datasets: Sequence[Dataset],
        *,
        store: UnitStore | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Iterator[tuple[Unit, UnitResult]]:
        """See Executor."""
        began_ns = time_ns()
        for done in self._inner.run(units, datasets, store=store, progress=progress, cancelled=cancelled):
            self._tracing.unit(began_ns)
            yield done
            began_ns = time_ns()


def valid_traceparent(text: str | None) -> str | None:
    """The header as it is, if it is one of W3C Trace Context; nothing else that a caller wrote gets through."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def _sampler(share: float, *, process: str) -> "Sampler":
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415 - an extra

    key = secrets.token_bytes(32)

    class Keyed(TraceIdRatioBased):
        """By a number that follows from the trace's id and that nobody can choose."""

        def should_sample(self, parent_context: "Context | None", trace_id: int, *rest: Any, **named: Any) -> Any:
            digest = blake2b(trace_id.to_bytes(16, "big"), digest_size=16, key=key).digest()
            return super().should_sample(parent_context, int.from_bytes(digest, "big"), *rest, **named)

    # What a worker continues was written down by the API, whose flag it is.
    return ParentBased(Keyed(share)) if process == "worker" else Keyed(share)


def _context(parent: str | None) -> "Context | None":
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
