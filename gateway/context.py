"""What belongs to one request, from its headers to its line in the log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.types import Scope

from likeness.metadata import CallMetadata

_KEY = "likeness.context"


@dataclass
class RequestContext:
    """Facts of one request; ``reason`` is filled in when it fails."""

    metadata: CallMetadata
    started: float = field(default_factory=time.perf_counter)
    """When it came in, on the clock of time.perf_counter."""
    reason: str = ""
    """Reason of the error that it ended with."""

    def attach(self, scope: Scope) -> None:
        """Keep this context with its request."""
        scope[_KEY] = self

    @staticmethod
    def of(scope: Scope) -> RequestContext:
        """Return the context of a request. Raises KeyError outside the context middleware."""
        context: RequestContext = scope[_KEY]
        return context
