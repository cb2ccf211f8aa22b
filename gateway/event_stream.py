"""Server-sent events: what streams of work and of training do alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.connection import Lifecycle, while_connected
from gateway.context import RequestContext
from gateway.errors import problem_document
from likeness.errors import LikenessError

Event = TypeVar("Event")

KEEPALIVE_SECONDS = 15.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(Response, Generic[Event]):
    """The events of a source as they come. A subclass gives each its text, and says how the stream begins and ends."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, lifecycle: Lifecycle, events: AsyncGenerator[Event, None]) -> None:
        """Answer ``request`` with ``events``, which are closed at the end."""
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._request = request
        self._lifecycle = lifecycle
        self._events = events

    def opening(self) -> bytes:
        """Return what comes before the events; nothing when empty."""
        return b""

    def text_of(self, event: Event) -> bytes:
        """Return an event's text."""
        raise NotImplementedError

    async def closing(self) -> bytes:
        """Return what comes after the last event; nothing when empty."""
        return b""

    def failure(self, error: Exception) -> bytes:
        """Return the last words of a stream that ``error`` ended, or raise it: the connection then breaks off."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client goes away."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        final = b""
        try:
            async with aclosing(self._events):
                await while_connected(receive, self._lifecycle, self._send(send))
        except Exception as error:
            final = self.failure(error)
        await send({"type": "http.response.body", "body": final, "more_body": False})

    def error_event(self, error: LikenessError) -> bytes:
        """Return the event ``error``, a problem document."""
        # The status has been sent; the request's line in the log still tells how it ended.
        context = RequestContext.of(self._request.scope)
        context.reason = error.reason
        return event_text("error", problem_document(error, self._request.url.path, context.metadata.request_id))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        if opening := self.opening():
            yield opening
        upcoming = asyncio.ensure_future(anext(self._events, None))
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=KEEPALIVE_SECONDS)
                if not done:
                    # Proxies close connections that say nothing for long.
                    yield b": still working\n\n"
                    continue
                event = upcoming.result()
                if event is None:
                    break
                yield self.text_of(event)
                upcoming = asyncio.ensure_future(anext(self._events, None))
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        if closing := await self.closing():
            yield closing


def event_text(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    """Return an event of a name and a JSON document, with ``number`` as its id."""
    line = b"" if number is None else f"id: {number}\n".encode()
    return line + b"event: " + name.encode("ascii") + b"\ndata: " + orjson.dumps(data) + b"\n\n"
