"""Work that ends when its client goes away, or when the gateway may wait no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Receive

from likeness.errors import Cancelled, ServiceUnavailable

T = TypeVar("T")


class Lifecycle:
    """Whether the gateway takes work, shuts down, or has waited long enough for what still runs."""

    def __init__(self) -> None:
        """Start in the state that takes work."""
        self.draining = False
        self._expired = asyncio.Event()

    def drain(self) -> None:
        """Say that the gateway shuts down: it is not ready any more, and what runs may end."""
        self.draining = True

    def expire(self) -> None:
        """End what still runs."""
        self.draining = True
        self._expired.set()

    async def expired(self) -> None:
        """Return when what still runs must end."""
        await self._expired.wait()


async def while_connected(receive: Receive, lifecycle: Lifecycle, work: Coroutine[Any, Any, T]) -> T:
    """Return the work's result.

    The work is cancelled, and Cancelled raised, when the client disconnects; ServiceUnavailable is raised when the
    gateway shuts down and has waited long enough. The request's body must have been read.
    """
    running = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    expired = asyncio.create_task(lifecycle.expired())
    try:
        await asyncio.wait({running, gone, expired}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        if expired.done():
            raise ServiceUnavailable("the gateway shuts down; try again", retry_after_seconds=5.0)
        raise Cancelled("the client went away")
    finally:
        for task in (running, gone, expired):
            task.cancel()
        for task in (running, gone, expired):
            # Awaited, so that the gRPC calls are cancelled before this returns.
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
