"""When an answer must be there, and what is left of that time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from likeness.calls import CallOptions
from likeness.errors import DeadlineExceeded, InvalidRequest
from likeness.metadata import CallMetadata

TIMEOUT_HEADER = "x-timeout-seconds"


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the point ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    def remaining_seconds(self) -> float:
        """Return what is left. Raises DeadlineExceeded when nothing is."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the time for this request is over")
        return left

    def options(self, metadata: CallMetadata) -> CallOptions:
        """Return what goes along with the next gRPC call. Raises DeadlineExceeded when no time is left."""
        return CallOptions(metadata.new_child(), self.remaining_seconds())


def timeout_seconds(header: str | None, field: float | None, default: float, most: float) -> float:
    """Return how long a request may take: the body's ``timeout_seconds``, else the header, else the default.

    Raises InvalidRequest for a value that is no positive number or more than ``most``.
    """
    name, value = "timeout_seconds", field
    if value is None and header is not None:
        name = TIMEOUT_HEADER
        try:
            value = float(header)
        except ValueError:
            value = math.nan
    if value is None:
        return default
    if not 0 < value <= most:
        raise InvalidRequest(f"{name} must be a number of seconds above 0 and at most {most:g}", field=name)
    return value
