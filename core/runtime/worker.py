"""The one thread that works on a device, its bounded queue, and how calls wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any, TypeVar, Unpack, cast

from core.runtime import telemetry
from core.runtime.cancellation import CancelToken
from core.runtime.estimates import DurationEstimates
from core.runtime.execution import execute
from core.runtime.fair_queue import FairQueue, Priority
from core.runtime.work import Admission, BatchWork, Emit, Failed, Queued, Result, Started, Ticket, Work
from likeness.errors import DeadlineTooShort, LikenessError, QueueFull, ServiceUnavailable

__all__ = ["BatchWork", "DeviceWorker", "Emit", "Failed", "Priority", "Queued", "Result", "Started", "Ticket", "Work"]

T = TypeVar("T")

_MIN_RETRY_SECONDS = 0.5
_MAX_RETRY_SECONDS = 60.0


class DeviceWorker:
    """One thread for one device, with a bounded queue that is fair between tenants.

    A full queue refuses at once, and so does work that is not expected to end before its deadline. Work that may be
    done in a batch takes waiting work of its key along. An error in one piece of work never ends the thread.
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
        self._running: list[Ticket] = []
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
        return bool(self._running)

    def check_room(self) -> None:
        """Raise QueueFull or ServiceUnavailable when `submit` would now: before costly preparations."""
        with self._changed:
            self._refuse_without_room()

    def submit(
        self, work: Work[Any] | BatchWork[Any, Any], *, token: CancelToken, emit: Emit, **admission: Unpack[Admission]
    ) -> Ticket:
        """Admit a piece of work; any thread may call this.

        Args:
            work: What to do. It should call the token's ``check``, or its part's ``goes_on``, at every step.
            token: Stops the work; a queued one leaves the queue at once when it is cancelled.
            emit: Takes `Queued`, `Started`, whatever the work emits, then one `Result` or `Failed`. Called from several
                threads, sometimes under the worker's lock: it must only pass the event on.
            admission: Tenant, kind, priority and expected duration.

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
                tenant=admission.get("tenant", "default"),
                kind=admission.get("kind", "work"),
                priority=admission.get("priority", Priority.NORMAL),
                expected_seconds=admission.get("expected_seconds"),
                discard=self._discard,
            )
            self._queue.push(ticket.tenant, ticket, ticket.priority)
            too_late = self._too_late(ticket, self._wait_before(ticket))
            if too_late is not None:
                self._queue.remove(ticket.tenant, ticket)
                raise too_late
            self._tell_positions()
            self._changed.notify_all()
        ticket.forget = token.add_callback(lambda: self._cancel_queued(ticket))
        return ticket

    async def stream(
        self, work: Work[T] | BatchWork[Any, T], *, token: CancelToken, **admission: Unpack[Admission]
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

        self.submit(work, token=token, emit=emit, **admission)
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

    async def call(self, work: Work[T], *, token: CancelToken, **admission: Unpack[Admission]) -> tuple[T, float]:
        """Do a piece of work and return its result and the seconds it had waited; errors as `stream`."""
        events = self.stream(work, token=token, **admission)
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
            admitted = [*self._queue.order(), *self._running]
            self._changed.notify_all()
        for ticket in admitted:
            # Whoever still waits did not cancel anything, and may try again elsewhere.
            ticket.token.cancel("the service is shutting down", ServiceUnavailable)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wait_idle(self, timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._running, timeout)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                tickets = self._take()
                too_late = {ticket: error for ticket in tickets if (error := self._too_late(ticket))}
            for ticket, error in too_late.items():
                tickets.remove(ticket)
                self._settle(ticket, Failed(error))
            if tickets:
                execute(self.name, tickets, self._settle)
            del tickets, too_late  # or they would live until the next piece of work

    def _take(self) -> list[Ticket]:
        """Take the next piece of work off the queue, with the waiting ones that it can be done together with."""
        first = self._queue.pop()
        tickets, room = [first], first.limit - first.size
        for ticket in self._queue.order() if first.batch_key is not None and room > 0 else ():
            if ticket.batch_key == first.batch_key and ticket.size <= room:
                self._queue.remove(ticket.tenant, ticket)
                tickets.append(ticket)
                room -= ticket.size
        self._running = list(tickets)
        for ticket in tickets:
            ticket.started_at = time.monotonic()
        self._tell_positions()
        return tickets

    def _settle(self, ticket: Ticket, last: Result[Any] | Failed) -> None:
        with self._changed:
            self._running.remove(ticket)
            if isinstance(last, Result):
                self._estimates.record(ticket.kind, last.work_seconds * last.batch_share)
            self._changed.notify_all()
        ticket.forget()
        ticket.emit(last)

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

    def _wait_before(self, ticket: Ticket) -> float:
        """Return how long a ticket of the queue is expected to wait, in seconds."""
        order = self._queue.order()
        return self._running_seconds() + sum(map(self._expected, order[: order.index(ticket)]))

    def _too_late(self, ticket: Ticket, wait: float = 0.0) -> DeadlineTooShort | None:
        """Return the refusal of work that is not expected to end in time; None when it is."""
        remaining = ticket.token.remaining()
        if remaining is None or ticket.token.stopped:
            return None
        own = ticket.expected_seconds
        if own is None:
            own = self._estimates.least(ticket.kind) or 0.0
        if wait + own <= remaining:
            return None
        return DeadlineTooShort(
            f"the work is expected to end in {wait + own:.1f} s, but its deadline is in {remaining:.1f} s",
            expected_seconds=f"{wait + own:.3f}",
        )

    def _expected(self, ticket: Ticket) -> float:
        if ticket.expected_seconds is not None:
            return ticket.expected_seconds
        return self._estimates.mean(ticket.kind) or 0.0

    def _running_seconds(self) -> float:
        """Return how long the running work will still take."""
        began = [ticket.started_at for ticket in self._running if ticket.started_at is not None]
        if not began:
            return 0.0
        return max(0.0, sum(map(self._expected, self._running)) - (time.monotonic() - min(began)))

    def _retry_after(self) -> float:
        return min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, self._running_seconds()))
