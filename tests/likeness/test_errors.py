"""The error table, walked through both protocols."""

from __future__ import annotations

import json
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from likeness import errors
from likeness.errors import (
    ERRORS,
    STATUS_DETAILS_KEY,
    FieldViolation,
    InvalidRequest,
    LikenessError,
    from_rpc_error,
    from_status,
    problem,
    to_status,
)

# The gateway, which other tests import, enters errors of its own.
OWN = {reason: kind for reason, kind in ERRORS.items() if kind.__module__.startswith("likeness.")}
TABLE = sorted(OWN.items())


def example(kind: type[LikenessError]) -> LikenessError:
    error = kind("it went wrong", field="reference_image.data", retry_after_seconds=1.5, limit="40")
    error.request_id = "r-1"
    return error


def public_classes() -> set[type[LikenessError]]:
    found = {value for value in vars(errors).values() if isinstance(value, type)}
    return {value for value in found if issubclass(value, LikenessError) and value.reason}


def test_every_public_class_is_in_the_table_once() -> None:
    assert public_classes() == set(OWN.values())
    assert all(reason == kind.reason for reason, kind in TABLE)


@pytest.mark.parametrize(("reason", "kind"), TABLE)
def test_every_error_survives_grpc(reason: str, kind: type[LikenessError]) -> None:
    error = example(kind)
    status = status_pb2.Status.FromString(to_status(error).SerializeToString())
    back = from_status(status)
    assert type(back) is kind
    assert (back.message, back.field, back.retry_after_seconds) == (error.message, error.field, 1.5)
    assert (back.metadata, back.request_id, back.violations) == ({"limit": "40"}, "r-1", error.violations)
    assert status.code == kind.code.value[0]
    assert kind.code is not grpc.StatusCode.OK
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["field"]) == (reason, "likeness.dev", "reference_image.data")


@pytest.mark.parametrize(("reason", "kind"), TABLE)
def test_every_error_becomes_a_problem_document(reason: str, kind: type[LikenessError]) -> None:
    document = json.loads(json.dumps(problem(example(kind), "/faceswap")))
    assert document == {
        "type": f"https://likeness.dev/errors/{reason.lower().replace('_', '-')}",
        "title": kind.title,
        "status": kind.http_status,
        "detail": "it went wrong",
        "instance": "/faceswap",
        "reason": reason,
        "field": "reference_image.data",
        "errors": [{"field": "reference_image.data", "detail": "it went wrong"}],
        "metadata": {"limit": "40"},
        "request_id": "r-1",
        "retry_after_seconds": 1.5,
    }
    assert 400 <= kind.http_status <= 599
    assert kind.title
    assert (kind.http_status >= 500) == (kind.code in SERVER_FAULTS or reason == "QUEUE_FULL")


SERVER_FAULTS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNIMPLEMENTED,
}


@pytest.mark.parametrize(("reason", "kind"), TABLE)
def test_an_error_without_extras_has_no_extras_in_either_protocol(reason: str, kind: type[LikenessError]) -> None:
    error = kind("no")
    assert set(problem(error, "/")) == {"type", "title", "status", "detail", "instance", "reason"}
    assert len(to_status(error).details) == 1
    back = from_status(to_status(error))
    assert (type(back), back.field, back.retry_after_seconds, back.violations) == (kind, None, None, ())


def test_all_violations_of_a_request_reach_the_client() -> None:
    violations = (FieldViolation("width", "too small", "INT32_GTE"), FieldViolation("", "both or neither", "SIZE_BOTH"))
    error = InvalidRequest("two things", violations=violations)
    assert error.field == "width"
    assert from_status(to_status(error)).violations == violations
    assert problem(error, "/")["errors"] == [
        {"field": "width", "detail": "too small", "rule": "INT32_GTE"},
        {"field": "", "detail": "both or neither", "rule": "SIZE_BOTH"},
    ]


def test_a_status_never_outgrows_trailing_metadata() -> None:
    violations = [FieldViolation(f"loras[{i}].lora_id", "x" * 900) for i in range(500)]
    error = InvalidRequest("m" * 100_000, violations=violations, hint="h" * 5000)
    status = to_status(error)
    assert status.ByteSize() < 6000
    assert from_status(status).violations


def test_an_unknown_reason_becomes_the_general_class_of_its_code() -> None:
    status = to_status(errors.NoFace("none", field="image"))
    info = error_details_pb2.ErrorInfo(reason="FACE_ON_FIRE", domain="likeness.dev", metadata={"field": "image"})
    status.details[0].Pack(info)
    back = from_status(status)
    assert type(back) is InvalidRequest
    assert (back.metadata, back.field, back.message) == ({"reason": "FACE_ON_FIRE"}, "image", "none")


def test_a_reason_of_another_domain_is_not_ours() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="gone")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NO_FACE", domain="example.com"))
    assert type(from_status(status)) is errors.NotFound


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_failed_call_without_details_still_becomes_an_error(code: grpc.StatusCode) -> None:
    error = from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=None))
    assert error.reason in ERRORS
    assert error.message
    same = error.code is code
    assert same or code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    )


def test_a_message_over_grpcs_limit_is_told_from_a_full_queue() -> None:
    told = {}
    for what in ("CLIENT: Sent", "SERVER: Received", "CLIENT: Received", "SERVER: Sent", "Received"):
        details = f"{what} message larger than max (5000000 vs. 4194304)"
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        error = from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details))
        assert type(error) is errors.PayloadTooLarge
        told[what] = error.message
    assert told["CLIENT: Sent"] == told["SERVER: Received"]
    assert "request has 5,000,000 bytes and a message may have 4,194,304" in told["CLIENT: Sent"]
    assert told["CLIENT: Received"] == told["SERVER: Sent"]
    assert "answer has 5,000,000 bytes" in told["SERVER: Sent"]


@pytest.mark.parametrize("details", [b"\xff\xff\xff", to_status(errors.NotFound("x")).SerializeToString()])
def test_details_that_are_damaged_or_contradict_the_code_are_ignored(details: bytes) -> None:
    trailing = grpc.aio.Metadata((STATUS_DETAILS_KEY, details))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAUTHENTICATED, grpc.aio.Metadata(), trailing, details="no key")
    back = from_rpc_error(error)
    assert (type(back), back.message) == (errors.Unauthenticated, "no key")


async def test_a_service_that_is_down_is_told_without_its_address() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        call: Any = channel.unary_unary("/a.B/C")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
    error = from_rpc_error(caught.value)
    assert (type(error), error.__cause__) == (errors.ServiceUnavailable, caught.value)
    assert "127.0.0.1" not in error.message


@pytest.mark.parametrize("reason", ["NO_FACE", "lower", "A" * 64])
def test_a_class_with_a_taken_or_malformed_reason_is_refused(reason: str) -> None:
    with pytest.raises(TypeError):
        type("Odd", (LikenessError,), {"reason": reason})
