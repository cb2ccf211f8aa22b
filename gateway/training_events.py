"""A training job's events as server-sent events, which a client that lost its connection takes up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.connection import while_connected
from gateway.context import RequestContext
from gateway.delivery import KEEPALIVE_SECONDS, STREAM_HEADERS
from gateway.errors import problem_document
from gateway.exchange import Exchange
from likeness.errors import Cancelled, LikenessError
from likeness.training import TrainingEvent, TrainingJob, document

Events = AsyncGenerator[TrainingEvent, None]


class TrainingEventStream(Response):
    """An event for each of the job's, with its number as id; at last ``ended`` with the job, or ``error``."""

    media_type = "text/event-stream"

    def __init__(self, exchange: Exchange, events: Events, ended: Callable[[], Awaitable[TrainingJob]]) -> None:
        """Stream ``events``, and then the job that ``ended`` tells of."""
        super().__init__(headers=STREAM_HEADERS)
        del self.headers["content-length"]
        self._exchange = exchange
        self._events = events
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the job ends or the client goes away."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        final = b""
        try:
            async with aclosing(self._events):
                await while_connected(receive, self._exchange.gateway.lifecycle, self._send(send))
        except Cancelled:
            pass  # nobody is left to read
        except LikenessError as error:
            context = RequestContext.of(scope)
            context.reason = error.reason
            path = self._exchange.request.url.path
            final = _event("error", problem_document(error, path, context.metadata.request_id))
        await send({"type": "http.response.body", "body": final, "more_body": False})

    async def _send(self, send: Send) -> None:
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
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
                yield _event(event.type.value, document(event), event.sequence)
                upcoming = asyncio.ensure_future(anext(self._events, None))
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        yield _event("ended", document(await self._ended()))


def _event(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    line = b"" if number is None else f"id: {number}\n".encode()
    return line + b"event: " + name.encode("ascii") + b"\ndata: " + orjson.dumps(data) + b"\n\n"
