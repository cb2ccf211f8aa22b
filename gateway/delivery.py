"""Running work and delivering it the way the client accepts: JSON, the picture itself, or server-sent events."""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import (
    answer_document,
    finished_document,
    image_document,
    picture_headers,
    progress_document,
)
from gateway.connection import Lifecycle, while_connected
from gateway.event_stream import EventStream, event_text
from gateway.events import PictureReady, Progress, Work, WorkEvent, WorkFinished
from gateway.negotiation import AnswerKind
from likeness.errors import Cancelled, Internal, LikenessError

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
        return WorkEventStream(delivery, first, work)
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


class WorkEventStream(EventStream[WorkEvent]):
    """The events queued, started, step, image, and last finished or error (a problem document)."""

    def __init__(self, delivery: Delivery, first: WorkEvent, work: Work) -> None:
        """Stream ``first`` and then the rest of ``work``."""
        super().__init__(delivery.request, delivery.lifecycle, work)
        self._delivery = delivery
        self._first = first

    def opening(self) -> bytes:
        """Return the event that was waited for before the status was sent."""
        return self.text_of(self._first)

    def text_of(self, event: WorkEvent) -> bytes:
        """Return an event under the name of its kind."""
        match event:
            case Progress():
                return event_text(*progress_document(event))
            case PictureReady():
                return event_text("image", image_document(event))
            case WorkFinished():
                seconds = self._delivery.elapsed_seconds()
                return event_text("finished", finished_document(event, self._delivery.request_id, seconds))

    def failure(self, error: Exception) -> bytes:
        """Return the event ``error``; what is no LikenessError is an internal one."""
        if isinstance(error, Cancelled):
            # Nobody is left to read, or the service stopped the work: the event tells whoever still listens.
            return self.error_event(Cancelled("the work was cancelled"))
        if isinstance(error, LikenessError):
            return self.error_event(error)
        _logger.error("request %s failed while streaming", self._delivery.request_id, exc_info=error)
        return self.error_event(Internal("the gateway failed; its log tells more under the request id"))
