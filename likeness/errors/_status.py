"""Errors over gRPC: ``google.rpc.Status`` with ErrorInfo, BadRequest, RetryInfo and RequestInfo (AIP-193)."""

from __future__ import annotations

import math
import re
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from likeness.errors import _table as table
from likeness.errors._tree import ERRORS, FieldViolation, LikenessError

DOMAIN = "likeness.dev"
"""The ``ErrorInfo.domain`` of every error of Likeness."""
STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Key of the trailing metadata that carries the serialised Status."""

# Trailing metadata has a soft limit of 8 KiB over gRPC, shared with the message in grpc-message: beyond it the client
# sees RESOURCE_EXHAUSTED in place of the error.
_MAX_STATUS_BYTES = 4096
_MAX_MESSAGE_CHARACTERS = 1000
_MAX_VALUE_CHARACTERS = 200
# In grpc's own words; the code is also that of a full queue.
_TOO_LARGE = re.compile(r"(\w+: (?:Sent|Received)) message larger than max \((\d+) vs\. (\d+)\)")

_GENERIC: dict[grpc.StatusCode, type[LikenessError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: table.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: table.InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: table.Conflict,
    grpc.StatusCode.ALREADY_EXISTS: table.Conflict,
    grpc.StatusCode.ABORTED: table.Conflict,
    grpc.StatusCode.NOT_FOUND: table.NotFound,
    grpc.StatusCode.UNAUTHENTICATED: table.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: table.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: table.QueueFull,
    grpc.StatusCode.DEADLINE_EXCEEDED: table.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: table.Cancelled,
    grpc.StatusCode.UNAVAILABLE: table.ServiceUnavailable,
    grpc.StatusCode.UNIMPLEMENTED: table.Unsupported,
    grpc.StatusCode.DATA_LOSS: table.ArtifactCorrupt,
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: LikenessError) -> status_pb2.Status:
    """Turn an error into a Status.

    Long texts are cut and violations beyond what trailing metadata can hold are left out, so that an error is never
    lost for its size.
    """
    status = status_pb2.Status(code=error.code.value[0], message=_cut(error.message, _MAX_MESSAGE_CHARACTERS))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in error.metadata.items():
        info.metadata[key] = _cut(value, _MAX_VALUE_CHARACTERS)
    if error.field:
        info.metadata["field"] = _cut(error.field, _MAX_VALUE_CHARACTERS)
    status.details.add().Pack(info)
    if error.request_id:
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=error.request_id))
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(max(0, math.ceil(error.retry_after_seconds * 1000)))
        status.details.add().Pack(retry)
    if error.violations:
        room = _MAX_STATUS_BYTES - status.ByteSize()
        status.details.add().Pack(_bad_request(error.violations, room))
    return status


def from_status(status: status_pb2.Status) -> LikenessError:
    """Turn a Status back into its error.

    A reason that this version does not know, or a Status from elsewhere, becomes the general class of its code; the
    reason is then kept in ``metadata["reason"]``.
    """
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    bad = error_details_pb2.BadRequest()
    retry_after_seconds: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after_seconds = retry.retry_delay.ToMilliseconds() / 1000
        for message in (info, request, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    violations = tuple(FieldViolation(v.field, v.description, v.reason) for v in bad.field_violations)
    metadata = dict(info.metadata)
    field = metadata.pop("field", None)
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    kind = ERRORS.get(info.reason) if info.domain == DOMAIN else None
    if kind is None or kind.code is not code:
        kind = _generic(code, status.message)
        if info.reason:
            metadata["reason"] = info.reason
    error = _make(kind, status.message, field, retry_after_seconds, violations, metadata)
    error.request_id = request.request_id or None
    return error


def from_rpc_error(error: grpc.RpcError) -> LikenessError:
    """Turn a failed call (``grpc.aio.AioRpcError`` or the synchronous kind) into its error.

    Failures that the library itself reports (no connection, deadline, message too large) become the general class of
    their code. The failed call is the error's ``__cause__``.
    """
    result = _from_call(error)
    result.__cause__ = error
    return result


def _from_call(error: grpc.RpcError) -> LikenessError:
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.MergeFromString(value)
            except DecodeError:
                break
            if status.code == call.code().value[0]:
                return from_status(status)
    number = call.code().value[0]
    if call.code() is grpc.StatusCode.UNAVAILABLE:
        # The library's own words list addresses inside the deployment; they stay in the cause.
        return table.ServiceUnavailable("the service cannot be reached")
    details = call.details() or code_pb2.Code.Name(number)
    if sizes := _TOO_LARGE.search(details):
        return _too_large(*sizes.groups())
    return from_status(status_pb2.Status(code=number, message=details))


def _too_large(which: str, size: str, limit: str) -> table.PayloadTooLarge:
    request = which in ("CLIENT: Sent", "SERVER: Received")
    way_out = (
        "make its pictures smaller, or hand them in as artifact URIs"
        if request
        else "ask for fewer or smaller pictures, or to have them stored"
    )
    return table.PayloadTooLarge(
        f"the {'request' if request else 'answer'} has {int(size):,} bytes and a message may have {int(limit):,}: "
        f"{way_out}",
        max_bytes=limit,
    )


def _make(
    kind: type[LikenessError],
    message: str,
    field: str | None,
    retry_after_seconds: float | None,
    violations: tuple[FieldViolation, ...],
    metadata: dict[str, str],
) -> LikenessError:
    error = kind.__new__(kind)
    if isinstance(error, table.InvalidRequest):
        table.InvalidRequest.__init__(
            error, message, field=field, retry_after_seconds=retry_after_seconds, violations=violations
        )
    else:
        LikenessError.__init__(error, message, field=field, retry_after_seconds=retry_after_seconds)
    # Set, not passed: a server of another version may use keys that collide with the constructor's own names.
    error.metadata = metadata
    return error


def _generic(code: grpc.StatusCode, message: str) -> type[LikenessError]:
    # Not every release of grpc tells both sizes.
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
        return table.PayloadTooLarge
    return _GENERIC.get(code, table.Internal)


def _bad_request(violations: tuple[FieldViolation, ...], room: int) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_VALUE_CHARACTERS),
            description=_cut(violation.message, _MAX_MESSAGE_CHARACTERS),
            reason=violation.rule,
        )
        room -= entry.ByteSize() + 4
        if room < 0 and bad.field_violations:
            break
        bad.field_violations.append(entry)
    return bad


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
