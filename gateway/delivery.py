"""Running work and delivering it the way the client accepts: JSON, the picture itself, or server-sent events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.answers import (
    answer_document,
    finished_document,
    image_document,
    picture_headers,
    progress_document,
)
from gateway.connection import Lifecycle, while_connected
from gateway.context import RequestContext
from gateway.errors import problem_document
from gateway.events import PictureReady, Progress, Work, WorkEvent, WorkFinished
from gateway.negotiation import AnswerKind
from likeness.errors import Cancelled, Internal, LikenessError

KEEPALIVE_SECONDS = 15.0
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_logger = logging.getLogger("likeness.gateway")


@dataclass(frozen=True)
class Delivery:
    """What delivering one answer needs to know."""

    request: Request
    lifecycle: Lifecycle
    request_id: str
    kind: AnswerKind
    started: float
    """When the request came in, on the clock of time.perf_counter."""

    def elapsed_seconds(self) -> float:
        """Return the time since the request came in."""
        return time.perf_counter() - self.started


async def deliver(delivery: Delivery, work: Work) -> Response:
    """Run ``work`` and return its answer. Raises LikenessError; the work stops when the client goes away."""
    receive = delivery.request.receive
    if delivery.kind is AnswerKind.EVENTS:
        # What fails before the first event has its own status: a full generator is a 503 and a reference without a
        # face a 422, not a stream that says so.
        first = await while_connected(receive, delivery.lifecycle, _first(work))
        return EventStream(delivery, first, work)
    pictures, finished = await while_connected(receive, delivery.lifecycle, _collect(work))
    headers = {"Cache-Control": "no-store"}
    if delivery.kind is AnswerKind.IMAGE:
        ready = pictures[0]
        headers |= picture_headers(ready, finished, delivery.elapsed_seconds())
        return Response(ready.picture.data, media_type=ready.picture.media_type, headers=headers)
    document = answer_document(pictures, finished, delivery.request_id, delivery.elapsed_seconds())
    return Response(orjson.dumps(document), media_type="application/json", headers=headers)


async def _first(work: Work) -> WorkEvent:
    async for event in work:
        return event
    raise Internal("the work ended without an event")


async def _collect(work: Work) -> tuple[list[PictureReady], WorkFinished]:
    pictures: list[PictureReady] = []
    async with aclosing(work) as events:
        async for event in events:
            if isinstance(event, PictureReady):
                pictures.append(event)
            elif isinstance(event, WorkFinished):
                if not pictures:
                    break
                return pictures, event
    raise Internal("the work ended without a picture")


class EventStream(Response):
    """Server-sent events: queued, started, step, image, and last finished or error (a problem document)."""

    media_type = "text/event-stream"

    def __init__(self, delivery: Delivery, first: WorkEvent, work: Work) -> None:
        """Stream ``first`` and then the rest of ``work``."""
        super().__init__(headers=STREAM_HEADERS)
        del self.headers["content-length"]
        self._delivery = delivery
        self._first = first
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the work ends or the client goes away."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        final = b""
        try:
            async with aclosing(self._work):
                await while_connected(receive, self._delivery.lifecycle, self._send_events(send))
        except Cancelled:
            # Nobody is left to read, or the service stopped the work: the event tells whoever still listens.
            final = self._error_event(Cancelled("the work was cancelled"))
        except LikenessError as error:
            final = self._error_event(error)
        except Exception:
            _logger.exception("request %s failed while streaming", self._delivery.request_id)
            final = self._error_event(Internal("the gateway failed; its log tells more under the request id"))
        await send({"type": "http.response.body", "body": final, "more_body": False})

    def _error_event(self, error: LikenessError) -> bytes:
        # The status has been sent; the request's line in the log still tells how it ended.
        RequestContext.of(self._delivery.request.scope).reason = error.reason
        path = self._delivery.request.url.path
        return _event("error", problem_document(error, path, self._delivery.request_id))

    async def _send_events(self, send: Send) -> None:
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._render(self._first)
        upcoming = asyncio.ensure_future(anext(self._work, None))
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=KEEPALIVE_SECONDS)
                if not done:
                    # Proxies close connections that say nothing for long.
                    yield b": still working\n\n"
                    continue
                event = upcoming.result()
                if event is None:
                    return
                yield self._render(event)
                upcoming = asyncio.ensure_future(anext(self._work, None))
        finally:
            upcoming.cancel()
            await asyncio.wait({upcoming})

    def _render(self, event: WorkEvent) -> bytes:
        match event:
            case Progress():
                return _event(*progress_document(event))
            case PictureReady():
                return _event("image", image_document(event))
            case WorkFinished():
                seconds = self._delivery.elapsed_seconds()
                return _event("finished", finished_document(event, self._delivery.request_id, seconds))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode("ascii") + b"\ndata: " + orjson.dumps(data) + b"\n\n"
