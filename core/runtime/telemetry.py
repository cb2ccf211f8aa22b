"""Logs and metrics: one line of JSON a record, Prometheus over HTTP. Neither ever holds prompts, pictures or keys."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TextIO
from wsgiref.simple_server import WSGIServer

from prometheus_client import Gauge, Histogram, start_http_server

from likeness.metadata import CallMetadata

LogFormat = Literal["json", "text"]

CALL_SECONDS = Histogram(
    "likeness_rpc_server_duration_seconds",
    "Time a call took on the server, by its final status.",
    ("service", "method", "code"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
QUEUE_DEPTH = Gauge("likeness_queue_depth", "Pieces of work that wait for the device.", ("service",))
QUEUE_WAIT_SECONDS = Histogram(
    "likeness_queue_wait_seconds",
    "Time a piece of work waited for the device.",
    ("service",),
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
WORK_SECONDS = Histogram(
    "likeness_work_seconds",
    "Time the device spent on a piece of work that ended well.",
    ("service", "kind"),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300),
)
NETWORK_PROVIDER = Gauge(
    "likeness_network_provider",
    "What runs a network, as its loaded session says: 1 for each network.",
    ("network", "provider"),
)

_FIELDS = "likeness_fields"
_calls = logging.getLogger("likeness.calls")


def configure_logging(level: str = "INFO", log_format: LogFormat = "json", stream: TextIO | None = None) -> None:
    """Send every record of the process to one stream (standard error), a line each; replaces earlier handlers.

    Args:
        level: Name of the lowest level that is written.
        log_format: ``json`` for machines, ``text`` for a terminal. Both escape control characters.
        stream: Where to write; standard error when left out.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Both speak of damaged pictures and forms; the call's own line says what was wrong with them.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_disconnect)


def log(logger: logging.Logger, level: int, message: str, /, *, exc_info: Any = None, **fields: Any) -> None:
    """Write a record with fields of its own beside the message; values must be what JSON can hold, else their str."""
    logger.log(level, message, extra={_FIELDS: fields}, exc_info=exc_info)


def record_call(
    *,
    service: str,
    method: str,
    code: str,
    seconds: float,
    metadata: CallMetadata | None,
    reason: str = "",
    level: int = logging.INFO,
) -> None:
    """Write the one line that every call gets, and count it.

    Args:
        service: Name of the process, for example ``generator``.
        method: Full name of the method, for example ``/likeness.generator.v1.GeneratorService/Generate``.
        code: Name of the final status, for example ``OK``.
        seconds: How long the call took.
        metadata: The call's metadata; None when it could not be read.
        reason: Reason of the error; empty when there is none.
        level: Level of the line.
    """
    CALL_SECONDS.labels(service, method, code).observe(seconds)
    fields: dict[str, Any] = {"service": service, "method": method, "code": code, "seconds": round(seconds, 4)}
    if reason:
        fields["reason"] = reason
    if metadata is not None:
        fields |= {"request_id": metadata.request_id, "tenant": metadata.tenant_id}
        if metadata.traceparent:
            fields["traceparent"] = metadata.traceparent
    log(_calls, level, "call", **fields)


@dataclass(frozen=True)
class MetricsServer:
    """A running Prometheus endpoint."""

    port: int
    """Port it listens on."""
    _server: WSGIServer
    _thread: threading.Thread

    @classmethod
    def start(cls, host: str, port: int) -> MetricsServer:
        """Serve the process's metrics on ``http://host:port/metrics`` from a thread of its own; port 0 picks one."""
        server, thread = start_http_server(port, addr=host)
        return cls(server.server_port, server, thread)

    def close(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _JsonFormatter(logging.Formatter):
    """A record as one line of JSON. ``ensure_ascii`` escapes newlines and ANSI codes, and all beyond ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= _fields(record)
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


class _TextFormatter(logging.Formatter):
    """A record as one line for a person; tracebacks keep their lines."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={value}" for key, value in _fields(record).items())
        text = f"{_timestamp(record)} {record.levelname:<7} {record.name}: {record.getMessage()} {fields}".rstrip()
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "\n" + "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in trace)
        return line


def _is_no_disconnect(record: logging.LogRecord) -> bool:
    """Return whether a record of grpcio is more than a client that went away while it was sent to."""
    return "ExecuteBatchError" not in record.getMessage()


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, _FIELDS, {})
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
