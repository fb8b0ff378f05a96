"""Structured log lines that hold only what is on a short list: no identifier, encoding, token or small count fits."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

# Everything that may be said about a request or a run. A key that is not here is dropped before the line is written.
ALLOWED = frozenset(
    {
        "agreement", "attempt", "code", "duration_ms", "error_type", "event", "host", "kind", "level", "method",
        "phase", "pid", "port", "project", "release", "request_id", "route", "run", "seq", "size", "state", "status",
        "timestamp", "upload", "url", "version", "worker",
    }
)  # fmt: skip


def only_allowed(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops every key that is not on the list."""
    return {key: value for key, value in line.items() if key in ALLOWED}


def configure(*, level: str, stream: TextIO | None = None) -> None:
    """Sends log lines as JSON to standard error, and nothing of what libraries would say below a warning."""
    numeric = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=stream or sys.stderr, format='{"event": "library", "kind": "%(name)s"}'
    )
