"""Pieces of work for a device: what they are, and what they tell."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from core.runtime.cancellation import CancelToken
from likeness.errors import LikenessError

T = TypeVar("T")

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
    """How long the device worked."""


@dataclass(frozen=True)
class Failed:
    """The work has ended with an error: the last event that `DeviceWorker.submit` emits."""

    error: LikenessError
    """The error."""


class Ticket:
    """A piece of work that was admitted."""

    def __init__(
        self,
        work: Work[Any],
        *,
        token: CancelToken,
        emit: Emit,
        tenant: str,
        kind: str,
        expected_seconds: float | None,
        discard: Callable[[Ticket], bool],
    ) -> None:
        """Made by `DeviceWorker.submit`."""
        self.token = token
        self.emit = emit
        self.tenant = tenant
        self.kind = kind
        self.expected_seconds = expected_seconds
        self.position = -1
        self.admitted_at = time.monotonic()
        self.started_at: float | None = None
        self.forget: Callable[[], None] = lambda: None
        self._work: Work[Any] | None = work
        self._context = contextvars.copy_context()
        self._discard = discard

    def discard(self) -> bool:
        """Take the work out of the queue, without a last event; return whether it still waited."""
        return self._discard(self)

    def run(self) -> Any:
        """Do the work, in the context of the submitter; called once, by the worker's thread."""
        # Dropped before it runs to its end, so that a kept ticket keeps no pictures alive.
        work, self._work = self._work, None
        assert work is not None
        return self._context.run(work, self.token, self.emit)
