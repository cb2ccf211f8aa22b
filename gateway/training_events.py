"""A training job's events as server-sent events, which a client that lost its connection takes up again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from gateway.event_stream import EventStream, event_text
from gateway.exchange import Exchange
from likeness.errors import Cancelled, LikenessError
from likeness.training import TrainingEvent, TrainingJob, document

Events = AsyncGenerator[TrainingEvent, None]


class TrainingEventStream(EventStream[TrainingEvent]):
    """An event for each of the job's, with its number as id; at last ``ended`` with the job, or ``error``."""

    def __init__(self, exchange: Exchange, events: Events, ended: Callable[[], Awaitable[TrainingJob]]) -> None:
        """Stream ``events``, and then the job that ``ended`` tells of."""
        super().__init__(exchange.request, exchange.gateway.lifecycle, events)
        self._ended = ended

    def text_of(self, event: TrainingEvent) -> bytes:
        """Return an event with its number, for the header Last-Event-ID."""
        return event_text(event.type.value, document(event), event.sequence)

    async def closing(self) -> bytes:
        """Return ``ended``. Raises LikenessError when the trainer does not tell of the job."""
        return event_text("ended", document(await self._ended()))

    def failure(self, error: Exception) -> bytes:
        """Return the event ``error``; nothing for Cancelled, and what is no LikenessError is raised."""
        if isinstance(error, Cancelled):
            return b""  # nobody is left to read
        if isinstance(error, LikenessError):
            return self.error_event(error)
        raise error
