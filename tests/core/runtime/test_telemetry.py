"""Logs are one safe line a record; metrics are served over HTTP."""

from __future__ import annotations

import io
import json
import logging
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from core.runtime import telemetry
from likeness.metadata import CallMetadata

EVIL = 'a\nb\r\x1b[31m"{}\u2028'


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(log_format: telemetry.LogFormat, message: str, **fields: Any) -> str:
    stream = io.StringIO()
    telemetry.configure_logging("INFO", log_format, stream)
    telemetry.log(logging.getLogger("test"), logging.INFO, message, **fields)
    return stream.getvalue()


@pytest.mark.usefixtures("restored_logging")
def test_a_record_is_one_line_of_json() -> None:
    text = logged("json", EVIL, path=EVIL, count=3, odd={1, 2})
    assert text.count("\n") == 1
    assert text.isascii()
    assert text.rstrip("\n").isprintable()
    record = json.loads(text)
    assert (record["message"], record["path"], record["count"], record["level"]) == (EVIL, EVIL, 3, "INFO")


@pytest.mark.usefixtures("restored_logging")
def test_a_record_as_text_is_one_line_without_control_characters() -> None:
    text = logged("text", EVIL, path=EVIL)
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_is_kept(log_format: telemetry.LogFormat) -> None:
    stream = io.StringIO()
    telemetry.configure_logging("INFO", log_format, stream)
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        telemetry.log(logging.getLogger("test"), logging.ERROR, "failed", exc_info=error)
    assert "ValueError" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.usefixtures("restored_logging")
def test_the_line_of_a_call_names_call_and_tenant() -> None:
    stream = io.StringIO()
    telemetry.configure_logging("INFO", "json", stream)
    metadata = CallMetadata.new(tenant_id="acme")
    telemetry.record_call(service="s", method="/a/B", code="OK", seconds=0.25, metadata=metadata)
    telemetry.record_call(service="s", method="/a/B", code="NOT_FOUND", seconds=1, metadata=None, reason="NO_FACE")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["request_id"], first["tenant"], first["traceparent"], first["seconds"]) == (
        metadata.request_id,
        "acme",
        metadata.traceparent,
        0.25,
    )
    assert (second["code"], second["reason"]) == ("NOT_FOUND", "NO_FACE")
    assert "request_id" not in second


def test_metrics_are_served_until_the_server_is_closed() -> None:
    telemetry.QUEUE_DEPTH.labels("telemetry-test").set(2)
    server = telemetry.MetricsServer.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert 'likeness_queue_depth{service="telemetry-test"} 2.0' in answer.read().decode()
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


@pytest.mark.usefixtures("restored_logging")
def test_a_client_that_goes_away_is_no_error_of_the_library() -> None:
    stream = io.StringIO()
    telemetry.configure_logging("INFO", "json", stream)
    library = logging.getLogger("grpc._cython.cygrpc")
    library.error("%s raised in core by servicer method [%s]", "ExecuteBatchError", "/a.B/C")
    library.error("something else")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["something else"]
