"""What surrounds every call: its metadata, validation, errors as rich statuses, the log line and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message

from core.runtime import telemetry
from core.runtime.validation import validate
from likeness.errors import STATUS_DETAILS_KEY, Internal, LikenessError, to_status
from likeness.metadata import CallMetadata

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_logger = logging.getLogger(__name__)
_metadata: contextvars.ContextVar[CallMetadata] = contextvars.ContextVar("likeness_call_metadata")
# The standard services speak for themselves: probes would fill the log.
_STANDARD = ("/grpc.health.v1.", "/grpc.reflection.")
_LINGER_SECONDS = 2.0


def current_metadata() -> CallMetadata:
    """Return the metadata of the call that this code runs for, also in the worker's thread.

    Outside of a call it is the metadata of a fresh one.
    """
    return _metadata.get(None) or CallMetadata.new()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method but those that stream both ways; the standard services pass untouched."""

    def __init__(self, service: str) -> None:
        """Make the interceptor of a process; `service` is its name in logs and metrics."""
        self._service = service
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def active(self) -> int:
        """How many calls run now."""
        return self._active

    async def wait_idle(self, timeout: float) -> bool:
        """Wait until no call runs; return whether that came within so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with everything around it."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_STANDARD):
            return handler  # type: ignore[no-any-return]
        if handler.request_streaming and handler.response_streaming:
            return handler  # type: ignore[no-any-return]
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._upload(method, handler.stream_unary), **codecs)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), **codecs)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codecs)

    def _unary(
        self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            async with self._around(method, context) as begin:
                begin(request)
                return await behaviour(request, context)

        return call

    def _upload(
        self, method: str, behaviour: Callable[[AsyncIterator[Any], Context], Awaitable[Any]]
    ) -> Callable[[AsyncIterator[Any], Context], Awaitable[Any]]:
        async def call(requests: AsyncIterator[Any], context: Context) -> Any:
            async with self._around(method, context) as begin:
                begin(None)
                try:
                    return await behaviour(_validated(requests), context)
                except LikenessError:
                    await _linger(requests)
                    raise

        return call

    def _stream(
        self, method: str, behaviour: Callable[[Any, Context], Any]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            async with self._around(method, context) as begin:
                begin(request)
                responses = behaviour(request, context)
                async with contextlib.aclosing(responses):
                    async for response in responses:
                        yield response

        return call

    @contextlib.asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[Callable[[Any], None]]:
        began = time.monotonic()
        metadata: CallMetadata | None = None

        def begin(request: Any) -> None:
            nonlocal metadata
            metadata = CallMetadata.from_grpc(context.invocation_metadata())
            # Not reset at the end: every call runs in a task of its own.
            _metadata.set(metadata)
            if isinstance(request, Message):
                validate(request)

        self._active += 1
        self._idle.clear()
        code, reason = grpc.StatusCode.OK, ""
        try:
            yield begin
            code = _code(context) or code
        except LikenessError as error:
            code, reason = error.code, error.reason
            await _abort(context, error, metadata)
        except grpc.aio.AbortError:
            code = _code(context) or grpc.StatusCode.UNKNOWN
            raise
        except (asyncio.CancelledError, GeneratorExit):
            # Swallowing these would leak the call's native memory.
            late = context.time_remaining() == 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code, reason = Internal.code, Internal.reason
            request_id = metadata.request_id if metadata else ""
            telemetry.log(_logger, logging.ERROR, "a call failed", exc_info=error, method=method, request_id=request_id)
            internal = Internal(f"internal error in request {request_id}; the service's log tells more")
            await _abort(context, internal, metadata)
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()
            telemetry.record_call(
                service=self._service,
                method=method,
                code=code.name,
                seconds=time.monotonic() - began,
                metadata=metadata,
                reason=reason,
            )


async def _validated(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, Message):
            validate(request)
        yield request


async def _linger(requests: AsyncIterator[Any]) -> None:
    """Read away what a refused client still sends, for a short time.

    A call that ends while its client writes may reach the client as a broken stream instead of its status: gRPC's
    Python client reports the failed write as INTERNAL.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            async for _ in requests:
                pass


async def _abort(context: Context, error: LikenessError, metadata: CallMetadata | None) -> NoReturn:
    if metadata is not None and error.request_id is None:
        error.request_id = metadata.request_id
    status = to_status(error)
    await context.abort(error.code, status.message, ((STATUS_DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort raises")


def _code(context: Context) -> grpc.StatusCode | None:
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((c for c in grpc.StatusCode if c.value[0] == code), None)
