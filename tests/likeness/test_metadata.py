"""Call metadata over gRPC."""

from __future__ import annotations

import dataclasses

import pytest

from likeness.errors import InvalidRequest
from likeness.metadata import CallMetadata

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_what_is_sent_is_what_arrives() -> None:
    metadata = CallMetadata("r-1", "acme", "key 1", TRACE)
    assert CallMetadata.from_grpc(metadata.to_grpc()) == metadata


def test_missing_values_get_defaults_and_a_request_id_of_their_own() -> None:
    first, second = CallMetadata.from_grpc(None), CallMetadata.from_grpc([("user-agent", "x"), ("x-bin", b"\xff")])
    assert first.request_id != second.request_id
    assert (first.tenant_id, first.idempotency_key, first.traceparent) == ("default", "", "")
    assert dict(first.to_grpc()) == {"x-request-id": first.request_id, "x-tenant-id": "default"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("x-request-id", "a b"),
        ("x-request-id", "a\n"),
        ("x-request-id", "a" * 129),
        ("x-request-id", "a\x1b[31m"),
        ("x-tenant-id", "../x"),
        ("x-tenant-id", "t" * 65),
        ("idempotency-key", "k" * 256),
        ("idempotency-key", "k\r\nx"),
        ("idempotency-key", "\xff"),
        ("traceparent", "00-xyz"),
        ("traceparent", TRACE + "\n"),
    ],
)
def test_a_bad_value_is_refused_with_its_key(key: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CallMetadata.from_grpc([(key, value)])
    assert caught.value.field == key
    assert value not in caught.value.message


def test_a_child_keeps_the_ids_and_gets_a_span_of_its_own() -> None:
    parent = CallMetadata("r-1", "acme", "k", TRACE)
    child = parent.new_child()
    assert dataclasses.replace(child, traceparent=TRACE) == parent
    assert child.traceparent != TRACE
    assert child.traceparent[:36] == TRACE[:36]


def test_a_child_of_a_call_without_trace_begins_one() -> None:
    assert CallMetadata("r-1").new_child().traceparent.startswith("00-")
