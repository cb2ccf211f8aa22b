"""Pure ASGI middleware: context, log and metrics of each request, and the bounds of its body."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.runtime.telemetry import record_call
from gateway.context import RequestContext
from gateway.errors import problem_response
from likeness.errors import BodyTooSlow, Cancelled, Internal, InvalidRequest, LikenessError, PayloadTooLarge
from likeness.metadata import CallMetadata

DISCARD_SECONDS = 1.0
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that machines ask for again and again: their lines would fill the log, and stand there at DEBUG."""

_logger = logging.getLogger("likeness.gateway")


class ContextMiddleware:
    """Gives each request its metadata, answers with X-Request-Id, logs and counts it, and keeps faults inside."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # What answers GET answers HEAD; the server, which has its own copy of the scope, leaves the body out.
            scope = {**scope, "method": "GET"}
        refusal: LikenessError | None = None
        try:
            metadata = CallMetadata.from_grpc(Headers(scope=scope).items())
        except InvalidRequest as error:
            refusal, metadata = error, CallMetadata.new()
        context = RequestContext(metadata)
        context.attach(scope)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = metadata.request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            if refusal is not None:
                await self._refuse(refusal, context, scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            context.reason = Cancelled.reason
        except Exception:
            _logger.exception("request %s failed", metadata.request_id)
            if status:
                raise
            fault = Internal("the gateway failed; its log tells more under the request id")
            await self._refuse(fault, context, scope, receive, send_with_headers)
        finally:
            route = scope.get("route")
            record_call(
                service="gateway",
                # The route's own path: paths that clients make up must not become labels.
                method=f"{scope['method']} {getattr(route, 'path', 'unmatched')}" if route else "unmatched",
                code=str(status or 499),
                seconds=time.perf_counter() - context.started,
                metadata=metadata,
                reason=context.reason,
                level=logging.DEBUG if scope["path"] in PROBES else logging.INFO,
            )

    @staticmethod
    async def _refuse(
        error: LikenessError, context: RequestContext, scope: Scope, receive: Receive, send: Send
    ) -> None:
        context.reason = error.reason
        response = problem_response(error, scope["path"], context.metadata.request_id)
        await response(scope, receive, send)


class BodyLimitMiddleware:
    """Refuses bodies that are too large or too slow, before and while they are read."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_seconds: float) -> None:
        """Allow ``max_bytes`` in all, within ``timeout_seconds``."""
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length[:20]) > self._max_bytes:
            context = RequestContext.of(scope)
            error = self._too_large()
            context.reason = error.reason
            await _discard(receive)
            await problem_response(error, scope["path"], context.metadata.request_id)(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        received = 0
        complete = False

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow(f"the body did not arrive within {self._timeout_seconds:g} seconds") from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > self._max_bytes:
                    if not complete:
                        await _discard(receive)
                    raise self._too_large()
            return message

        await self._app(scope, bounded, send)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the body has more than {self._max_bytes} bytes", field="body", max_bytes=str(self._max_bytes)
        )


async def _discard(receive: Receive) -> None:
    """Read on for a moment: a connection that is closed on a client which still sends loses it the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await receive()
