"""The one thread that works on a device, its bounded queue, and how calls wait for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any, TypeVar, cast

from core.runtime import telemetry
from core.runtime.cancellation import CancelToken
from core.runtime.estimates import DurationEstimates
from core.runtime.fair_queue import FairQueue
from core.runtime.work import Emit, Failed, Queued, Result, Started, Ticket, Work
from likeness.errors import DeadlineTooShort, Internal, LikenessError, QueueFull, ServiceUnavailable

__all__ = ["DeviceWorker", "Emit", "Failed", "Queued", "Result", "Started", "Ticket", "Work"]

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_MIN_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 60.0


class DeviceWorker:
    """One thread for one device, with a bounded queue that is fair between tenants.

    A full queue refuses at once, and so does work that is not expected to end before its deadline. An error in one
    piece of work never ends the thread.
    """

    def __init__(self, name: str, *, capacity: int = 16) -> None:
        """Start the thread.

        Args:
            name: Name of the service in metrics, logs and the thread's name.
            capacity: How many pieces of work may wait, beside the running one; at least 1.
        """
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.name = name
        self.capacity = capacity
        self._queue: FairQueue[Ticket] = FairQueue()
        self._estimates = DurationEstimates()
        self._running: Ticket | None = None
        self._admitting = True
        self._closed = False
        self._changed = threading.Condition()
        # Daemon: a hung device call must not keep the process from ending.
        self._thread = threading.Thread(target=self._loop, name=f"{name}-device", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many pieces of work wait, the running one not counted."""
        with self._changed:
            return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether a piece of work runs."""
        return self._running is not None

    def check_room(self) -> None:
        """Raise QueueFull or ServiceUnavailable when `submit` would now: before costly preparations."""
        with self._changed:
            self._refuse_without_room()

    def submit(
        self,
        work: Work[Any],
        *,
        token: CancelToken,
        emit: Emit,
        tenant: str = "default",
        kind: str = "work",
        expected_seconds: float | None = None,
    ) -> Ticket:
        """Admit a piece of work; any thread may call this.

        Args:
            work: What to do. It should call the token's ``check`` at every step.
            token: Stops the work; a queued one leaves the queue at once when it is cancelled.
            emit: Takes `Queued`, `Started`, whatever the work emits, then one `Result` or `Failed`. Called from several
                threads, sometimes under the worker's lock: it must only pass the event on.
            tenant: Whose turn it takes.
            kind: Groups work that takes equally long; a small fixed set, for it labels a metric.
            expected_seconds: How long the work will take; what was seen lately for its kind when left out.

        Raises:
            QueueFull: The queue is full; retry_after_seconds says when a place is likely.
            DeadlineTooShort: The work is not expected to end in time.
            Cancelled, DeadlineExceeded: The token has stopped already.
            ServiceUnavailable: The worker is draining or closed.
        """
        token.check()
        with self._changed:
            self._refuse_without_room()
            ticket = Ticket(
                work,
                token=token,
                emit=emit,
                tenant=tenant,
                kind=kind,
                expected_seconds=expected_seconds,
                discard=self._discard,
            )
            self._queue.push(tenant, ticket)
            try:
                self._refuse_too_late(ticket)
            except DeadlineTooShort:
                self._queue.remove(tenant, ticket)
                raise
            self._tell_positions()
            self._changed.notify_all()
        ticket.forget = token.add_callback(lambda: self._cancel_queued(ticket))
        return ticket

    async def stream(
        self,
        work: Work[T],
        *,
        token: CancelToken,
        tenant: str = "default",
        kind: str = "work",
        expected_seconds: float | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Do a piece of work and yield its events: `Queued`, `Started`, what it emits, and last `Result`.

        When the consumer goes away (``aclose``, CancelledError) the token is cancelled: queued work leaves the queue,
        running work stops at its next step.

        Raises:
            LikenessError: As `submit`; also what the work raised, and at once when the token stops.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Any] = asyncio.Queue()

        def emit(event: Any) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:  # the loop has closed: nobody listens any more
                token.cancel()

        self.submit(work, token=token, emit=emit, tenant=tenant, kind=kind, expected_seconds=expected_seconds)
        forget = token.add_callback(lambda: emit(None))
        ended = False
        try:
            while True:
                try:
                    async with asyncio.timeout(token.remaining()):
                        event = await events.get()
                except TimeoutError:
                    event = None
                if event is None:
                    token.check()
                elif isinstance(event, Failed):
                    ended = True
                    raise event.error
                elif isinstance(event, Result):
                    ended = True
                    yield event
                    return
                else:
                    yield event
        finally:
            forget()
            if not ended:
                token.cancel()

    async def call(
        self,
        work: Work[T],
        *,
        token: CancelToken,
        tenant: str = "default",
        kind: str = "work",
        expected_seconds: float | None = None,
    ) -> tuple[T, float]:
        """Do a piece of work and return its result and the seconds it had waited; errors as `stream`."""
        events = self.stream(work, token=token, tenant=tenant, kind=kind, expected_seconds=expected_seconds)
        try:
            async for event in events:
                if isinstance(event, Result):
                    return cast(T, event.value), event.queued_seconds
        finally:
            await events.aclose()
        raise AssertionError("the stream ended without a result")

    async def drain(self, timeout: float | None = None) -> bool:
        """Refuse new work and wait until what was admitted has ended; return whether it did in so many seconds."""
        with self._changed:
            self._admitting = False
        return await asyncio.to_thread(self._wait_idle, timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Stop all work and wait for the thread; return whether it ended in so many seconds."""
        with self._changed:
            self._admitting = False
            self._closed = True
            waiting = self._queue.order()
            running = self._running
            self._changed.notify_all()
        for ticket in [*waiting, *([running] if running else [])]:
            # Whoever still waits did not cancel anything, and may try again elsewhere.
            ticket.token.cancel("the service is shutting down", ServiceUnavailable)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wait_idle(self, timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and self._running is None, timeout)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                ticket = self._running = self._queue.pop()
                ticket.started_at = time.monotonic()
                self._tell_positions()
            last = self._execute(ticket)
            with self._changed:
                self._running = None
                if isinstance(last, Result):
                    self._estimates.record(ticket.kind, last.work_seconds)
                self._changed.notify_all()
            ticket.forget()
            ticket.emit(last)
            del ticket, last  # or they would live until the next piece of work

    def _execute(self, ticket: Ticket) -> Result[Any] | Failed:
        assert ticket.started_at is not None
        queued_seconds = ticket.started_at - ticket.admitted_at
        telemetry.QUEUE_WAIT_SECONDS.labels(self.name).observe(queued_seconds)
        try:
            ticket.token.check()
            ticket.emit(Started(queued_seconds))
            value = ticket.run()
        except LikenessError as error:
            return Failed(error)
        except BaseException as error:
            telemetry.log(_logger, logging.ERROR, "a piece of work failed", exc_info=error, kind=ticket.kind)
            return Failed(Internal("the work failed; the service's log tells more"))
        work_seconds = time.monotonic() - ticket.started_at
        telemetry.WORK_SECONDS.labels(self.name, ticket.kind).observe(work_seconds)
        return Result(value, queued_seconds, work_seconds)

    def _cancel_queued(self, ticket: Ticket) -> None:
        if self._discard(ticket):
            try:
                ticket.token.check()
            except LikenessError as error:
                ticket.emit(Failed(error))

    def _discard(self, ticket: Ticket) -> bool:
        with self._changed:
            removed = self._queue.remove(ticket.tenant, ticket)
            if removed:
                self._tell_positions()
                self._changed.notify_all()
        return removed

    def _tell_positions(self) -> None:
        order = self._queue.order()
        telemetry.QUEUE_DEPTH.labels(self.name).set(len(order))
        for position, ticket in enumerate(order):
            if ticket.position != position:
                ticket.position = position
                ticket.emit(Queued(position))

    def _refuse_without_room(self) -> None:
        if not self._admitting:
            raise ServiceUnavailable("the service is shutting down", retry_after_seconds=1.0)
        # The running one is counted with the waiting ones: the thread may not have taken up the first one yet.
        if len(self._queue) + self.busy > self.capacity:
            raise QueueFull(
                f"{self.capacity} pieces of work are waiting already",
                retry_after_seconds=self._retry_after(),
                capacity=str(self.capacity),
            )

    def _refuse_too_late(self, ticket: Ticket) -> None:
        remaining = ticket.token.remaining()
        if remaining is None:
            return
        order = self._queue.order()
        wait = self._running_seconds() + sum(map(self._expected, order[: order.index(ticket)]))
        own = ticket.expected_seconds
        if own is None:
            own = self._estimates.least(ticket.kind) or 0.0
        if wait + own > remaining:
            raise DeadlineTooShort(
                f"the work is expected to end in {wait + own:.1f} s, but its deadline is in {remaining:.1f} s",
                expected_seconds=f"{wait + own:.3f}",
            )

    def _expected(self, ticket: Ticket) -> float:
        if ticket.expected_seconds is not None:
            return ticket.expected_seconds
        return self._estimates.mean(ticket.kind) or 0.0

    def _running_seconds(self) -> float:
        """Return how long the running work will still take."""
        ticket = self._running
        if ticket is None or ticket.started_at is None:
            return 0.0
        return max(0.0, self._expected(ticket) - (time.monotonic() - ticket.started_at))

    def _retry_after(self) -> float:
        return min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, self._running_seconds()))
