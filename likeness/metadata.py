"""What travels with every call as gRPC metadata: request id, tenant, idempotency key and trace context."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from likeness.common.v1 import metadata_pb2
from likeness.errors import InvalidRequest
from likeness.vendor.buf.validate import validate_pb2

REQUEST_ID_KEY = "x-request-id"
TENANT_ID_KEY = "x-tenant-id"
IDEMPOTENCY_KEY = "idempotency-key"
TRACEPARENT_KEY = "traceparent"

DEFAULT_TENANT = "default"
"""The tenant of a call that names none."""


def _rules(field: str) -> validate_pb2.StringRules:
    options = metadata_pb2.CallMetadata.DESCRIPTOR.fields_by_name[field].GetOptions()
    rules: validate_pb2.StringRules = options.Extensions[validate_pb2.field].string
    return rules


# The limits stand in the contract (common/v1/metadata.proto) and nowhere else.
_REQUEST_ID = re.compile(_rules("request_id").pattern)
_TENANT_ID = re.compile(_rules("tenant_id").pattern)
_TRACEPARENT = re.compile(_rules("traceparent").pattern)
_IDEMPOTENCY_KEY_LENGTH = int(_rules("idempotency_key").max_len)


@dataclass(frozen=True)
class CallMetadata:
    """The metadata of one call; its limits are those of ``likeness.common.v1.CallMetadata``.

    Raises:
        InvalidRequest: A value breaks its limit; ``field`` is the metadata key.
    """

    request_id: str
    """Names the call in logs and answers."""
    tenant_id: str = DEFAULT_TENANT
    """Who pays for the work; queues are fair between tenants."""
    idempotency_key: str = ""
    """A repeated call with the same key does not start a second piece of work; empty for none."""
    traceparent: str = ""
    """W3C trace context; empty for none."""

    def __post_init__(self) -> None:
        """Check every value against the contract's limits."""
        _check(REQUEST_ID_KEY, self.request_id, _REQUEST_ID)
        _check(TENANT_ID_KEY, self.tenant_id, _TENANT_ID)
        if self.traceparent:
            _check(TRACEPARENT_KEY, self.traceparent, _TRACEPARENT)
        key = self.idempotency_key
        # gRPC carries nothing but printable ASCII.
        if len(key) > _IDEMPOTENCY_KEY_LENGTH or not (key.isascii() and key.isprintable()):
            raise InvalidRequest(
                f"{IDEMPOTENCY_KEY} has more than {_IDEMPOTENCY_KEY_LENGTH} characters or some beyond printable ASCII",
                field=IDEMPOTENCY_KEY,
            )

    @classmethod
    def new(cls, *, tenant_id: str = DEFAULT_TENANT, idempotency_key: str = "") -> CallMetadata:
        """Make the metadata of a fresh call, with a random request id and a new trace."""
        return cls(new_request_id(), tenant_id, idempotency_key, _new_traceparent())

    @classmethod
    def from_grpc(cls, pairs: Iterable[tuple[str, str | bytes]] | None) -> CallMetadata:
        """Read gRPC metadata; unknown keys are left alone, and of a repeated key the first counts.

        Raises:
            InvalidRequest: A value breaks its limit; ``field`` is the metadata key.
        """
        values: dict[str, str] = {}
        for key, value in pairs or ():
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            values.setdefault(key.lower(), text)
        return cls(
            request_id=values.get(REQUEST_ID_KEY) or new_request_id(),
            tenant_id=values.get(TENANT_ID_KEY) or DEFAULT_TENANT,
            idempotency_key=values.get(IDEMPOTENCY_KEY, ""),
            traceparent=values.get(TRACEPARENT_KEY, ""),
        )

    def to_grpc(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs to send; empty values are left out."""
        pairs = (
            (REQUEST_ID_KEY, self.request_id),
            (TENANT_ID_KEY, self.tenant_id),
            (IDEMPOTENCY_KEY, self.idempotency_key),
            (TRACEPARENT_KEY, self.traceparent),
        )
        return tuple((key, value) for key, value in pairs if value)

    def new_child(self) -> CallMetadata:
        """Return the metadata for a call that this call makes: the same ids, a new span in the same trace."""
        if not self.traceparent:
            return replace(self, traceparent=_new_traceparent())
        version, trace, _, flags = self.traceparent.split("-")
        return replace(self, traceparent=f"{version}-{trace}-{secrets.token_hex(8)}-{flags}")


def new_request_id() -> str:
    """Return a random request id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def _new_traceparent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _check(key: str, value: str, pattern: re.Pattern[str]) -> None:
    # fullmatch: "$" alone would let a trailing newline through.
    if not pattern.fullmatch(value):
        raise InvalidRequest(f"{key} has characters or a length that are not allowed", field=key)
