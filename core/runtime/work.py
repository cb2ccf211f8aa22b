"""Pieces of work for a device: what they are, and what they tell."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

from core.runtime.cancellation import CancelToken
from core.runtime.fair_queue import Priority
from likeness.errors import LikenessError

T = TypeVar("T")
Item = TypeVar("Item")

Emit = Callable[[Any], None]
"""Hands an event to whoever waits for the work; any thread may call it, and it never blocks."""
Work = Callable[[CancelToken, Emit], T]
"""A piece of work: runs in the worker's thread, calls the token's ``check`` between steps, returns its result."""


@dataclass(frozen=True)
class Queued:
    """The work waits. Sent on admission and whenever the position changes."""

    position: int
    """How many pieces of work stand before this one, the running one not counted; 0 is next."""


@dataclass(frozen=True)
class Started:
    """The device has taken up the work."""

    queued_seconds: float
    """How long the work had waited."""


@dataclass(frozen=True)
class Result(Generic[T]):
    """The work has ended well: the last event."""

    value: T
    """What the work returned."""
    queued_seconds: float
    """How long the work had waited."""
    work_seconds: float
    """How long the device worked; for the whole batch where there was one."""
    batch_share: float = 1.0
    """Which part of the device's work this piece was: its size over the batch's."""


@dataclass(frozen=True)
class Failed:
    """The work has ended with an error: the last event that `DeviceWorker.submit` emits."""

    error: LikenessError
    """The error."""


class Part(Generic[Item, T]):
    """One piece of work within a batch. It ends by `finish` or `fail`; what comes after that has no effect."""

    def __init__(self, item: Item, token: CancelToken, emit: Emit, end: Callable[[T | LikenessError], None]) -> None:
        """Make a part that calls ``end`` once, with its result or its error."""
        self.item = item
        self.token = token
        self.emit = emit
        self._end = end
        self.ended = False

    def finish(self, value: T) -> None:
        """End with a result."""
        self._settle(value)

    def fail(self, error: LikenessError) -> None:
        """End with an error; the batch's other parts go on."""
        self._settle(error)

    def goes_on(self) -> bool:
        """Return whether to work on for this part; one whose token has stopped ends here, with the token's error."""
        if not self.ended:
            try:
                self.token.check()
            except LikenessError as error:
                self.fail(error)
        return not self.ended

    def _settle(self, outcome: T | LikenessError) -> None:
        if not self.ended:
            self.ended = True
            self._end(outcome)


@dataclass(frozen=True, kw_only=True)
class BatchWork(Generic[Item, T]):
    """A piece of work that the device may do together with others of the same key."""

    item: Item
    """What to do."""
    run: Callable[[Sequence[Part[Item, T]]], None]
    """Does all parts of a batch, and ends each; runs in the worker's thread, in the context of the first one."""
    key: Hashable
    """Only work of equal keys is done together; None for work that is done alone."""
    size: int
    """How much room it takes in a batch, at least 1."""
    limit: int
    """The room of a batch; work that takes more is done alone."""


class Admission(TypedDict, total=False):
    """How a piece of work is admitted."""

    tenant: str
    """Whose turn it takes; ``default`` when left out."""
    kind: str
    """Groups work that takes equally long; a small fixed set, for it labels a metric."""
    priority: Priority
    """Which work goes first where several pieces wait; normal when left out."""
    expected_seconds: float | None
    """How long the work will take; what was seen lately for its kind when left out."""


class Ticket:
    """A piece of work that was admitted."""

    def __init__(
        self,
        work: Work[Any] | BatchWork[Any, Any],
        *,
        token: CancelToken,
        emit: Emit,
        tenant: str,
        kind: str,
        priority: Priority,
        expected_seconds: float | None,
        discard: Callable[[Ticket], bool],
    ) -> None:
        """Made by `DeviceWorker.submit`."""
        self.token = token
        self.emit = emit
        self.tenant = tenant
        self.kind = kind
        self.priority = priority
        self.batch_key = work.key if isinstance(work, BatchWork) else None
        self.size = work.size if isinstance(work, BatchWork) else 1
        self.limit = work.limit if isinstance(work, BatchWork) else 1
        self.expected_seconds = expected_seconds
        self.position = -1
        self.admitted_at = time.monotonic()
        self.started_at: float | None = None
        self.forget: Callable[[], None] = lambda: None
        self._work: Work[Any] | BatchWork[Any, Any] | None = work
        self._context = contextvars.copy_context()
        self._discard = discard

    @property
    def queued_seconds(self) -> float:
        """How long the work waited, or has waited until now."""
        return (self.started_at or time.monotonic()) - self.admitted_at

    def discard(self) -> bool:
        """Take the work out of the queue, without a last event; return whether it still waited."""
        return self._discard(self)

    def take_work(self) -> Work[Any] | BatchWork[Any, Any]:
        """Return the work and forget it, so that a kept ticket keeps no pictures alive; called once."""
        work, self._work = self._work, None
        assert work is not None
        return work

    def in_context(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the context of the submitter."""
        return self._context.run(function, *arguments)
