"""Deadlines and cancellation that reach running work at its next step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc.aio

from likeness.errors import Cancelled, DeadlineExceeded, LikenessError


class CancelToken:
    """Tells work whether it should go on. Any thread may use it.

    Work calls `check` between its steps; whoever waits for the work calls `cancel`.
    """

    def __init__(self, deadline_monotonic: float | None = None) -> None:
        """Make a token.

        Args:
            deadline_monotonic: When the work must have ended, on the clock of `time.monotonic`; None for no limit.
        """
        self._deadline = deadline_monotonic
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._kind: type[LikenessError] = Cancelled
        self._callbacks: dict[object, Callable[[], None]] = {}

    @classmethod
    def with_timeout(cls, seconds: float | None) -> CancelToken:
        """Make a token whose deadline is so many seconds from now; None for no limit."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @classmethod
    def for_call(cls, context: grpc.aio.ServicerContext[Any, Any]) -> CancelToken:
        """Make the token of a call: it has the call's deadline, and is cancelled when the call ends for any reason."""
        token = cls.with_timeout(context.time_remaining())

        def end(_: Any) -> None:
            token.cancel("the call has ended")

        context.add_done_callback(end)  # type: ignore[arg-type]  # its stub declares a class where it means a protocol
        return token

    @property
    def deadline_monotonic(self) -> float | None:
        """When the work must have ended, on the clock of `time.monotonic`; None for no limit."""
        return self._deadline

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called. A deadline that has passed does not count: see `stopped`."""
        return self._reason is not None

    @property
    def stopped(self) -> bool:
        """Whether `check` would raise."""
        remaining = self.remaining()
        return self.cancelled or (remaining is not None and remaining <= 0)

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, 0 when it has passed; None when there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Return when the work should go on.

        Raises:
            LikenessError: `cancel` was called; Cancelled unless it named another kind.
            DeadlineExceeded: The deadline has passed.
        """
        if self._reason is not None:
            raise self._kind(f"the work was stopped: {self._reason}")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise DeadlineExceeded("the deadline passed before the work ended")

    def cancel(self, reason: str = "the client went away", kind: type[LikenessError] = Cancelled) -> None:
        """Stop the work at its next step. Only the first call counts; callbacks run in the calling thread.

        Args:
            reason: Why, for a person.
            kind: What `check` raises.
        """
        with self._lock:
            if self._reason is not None:
                return
            # In this order: the reason is read without the lock, and tells that the kind is there.
            self._kind, self._reason = kind, reason
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:
            callback()

    def add_callback(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called once when `cancel` is: at once when it already was.

        Returns:
            A function that takes the callback back; it may be called more than once.
        """
        key = object()
        with self._lock:
            if self._reason is None:
                self._callbacks[key] = callback
                return lambda: self._remove(key)
        callback()
        return lambda: None

    def _remove(self, key: object) -> None:
        with self._lock:
            self._callbacks.pop(key, None)
