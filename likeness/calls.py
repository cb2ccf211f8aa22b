"""One gRPC call: deadline, metadata, cancellation, and errors as `LikenessError`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from likeness.errors import LikenessError, ServiceUnavailable, from_rpc_error
from likeness.metadata import CallMetadata

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

DETAILS_KEY = "grpc-status-details-bin"
RETRY_AFTER_SECONDS = 2.0


@dataclass(frozen=True)
class CallOptions:
    """What goes along with a call, beside its message."""

    metadata: CallMetadata | None = None
    """Request id, tenant, trace context. A request id is made when left out."""
    timeout_seconds: float | None = None
    """Deadline from now; none when left out."""

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the gRPC metadata."""
        return (self.metadata or CallMetadata.new()).to_grpc()


def domain_error(error: grpc.RpcError, service: str) -> LikenessError:
    """Return the domain error of a failed call. ``service`` is what a person calls the server."""
    trailing = error.trailing_metadata() if isinstance(error, grpc.aio.AioRpcError) else ()
    told = any(key == DETAILS_KEY for key, _ in trailing or ())
    if not told and isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAVAILABLE:
        # gRPC's own text names addresses of the deployment's inside.
        return ServiceUnavailable(
            f"the {service} service cannot be reached",
            retry_after_seconds=RETRY_AFTER_SECONDS,
            service=service,
        )
    return from_rpc_error(error)


@dataclass(frozen=True)
class UnaryCall(Generic[Request, Response]):
    """A method with one answer."""

    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response]
    service: str

    async def __call__(self, request: Request, options: CallOptions) -> Response:
        """Call it. Raises LikenessError; cancelling the task cancels the call on the server."""
        try:
            return await self.method(request, timeout=options.timeout_seconds, metadata=options.pairs())
        except grpc.RpcError as error:
            raise domain_error(error, self.service) from error


@dataclass(frozen=True)
class UploadCall(Generic[Request, Response]):
    """A method that takes its request in parts and has one answer."""

    method: grpc.aio.StreamUnaryMultiCallable[Request, Response]
    service: str

    async def __call__(self, requests: AsyncIterator[Request], options: CallOptions) -> Response:
        """Call it. Raises LikenessError; cancelling the task cancels the call on the server."""
        try:
            return await self.method(requests, timeout=options.timeout_seconds, metadata=options.pairs())
        except grpc.RpcError as error:
            raise domain_error(error, self.service) from error


@dataclass(frozen=True)
class StreamCall(Generic[Request, Response]):
    """A method that streams its answers."""

    method: grpc.aio.UnaryStreamMultiCallable[Request, Response]
    service: str

    async def __call__(self, request: Request, options: CallOptions) -> AsyncGenerator[Response, None]:
        """Yield the answers. Raises LikenessError; leaving the iteration cancels the call on the server."""
        call = self.method(request, timeout=options.timeout_seconds, metadata=options.pairs())
        try:
            async for response in call:
                yield response
        except grpc.RpcError as error:
            raise domain_error(error, self.service) from error
        finally:
            call.cancel()
