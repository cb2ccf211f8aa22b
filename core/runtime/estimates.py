"""How long a piece of work will take, from what was seen lately."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_SAMPLES = 8
# An estimate that only refuses work would never be corrected: one slow first run (a compilation, a cold cache) must
# not shut out short deadlines for good.
_LIFETIME_SECONDS = 120.0


class DurationEstimates:
    """Durations by kind of work. Not thread-safe: the worker guards it with its own lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Make empty estimates on the given clock (seconds)."""
        self._clock = clock
        self._samples: dict[str, deque[tuple[float, float]]] = {}

    def record(self, kind: str, seconds: float) -> None:
        """Note that a piece of work of that kind ended well after so many seconds."""
        self._samples.setdefault(kind, deque(maxlen=_SAMPLES)).append((self._clock(), seconds))

    def mean(self, kind: str) -> float | None:
        """Return the mean of the latest durations in seconds; None when none is recent."""
        recent = self._recent(kind)
        return sum(recent) / len(recent) if recent else None

    def least(self, kind: str) -> float | None:
        """Return the shortest of the latest durations in seconds; None when none is recent."""
        return min(self._recent(kind), default=None)

    def _recent(self, kind: str) -> list[float]:
        oldest = self._clock() - _LIFETIME_SECONDS
        return [seconds for at, seconds in self._samples.get(kind, ()) if at >= oldest]
