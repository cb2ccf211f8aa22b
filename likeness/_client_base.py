"""What the methods of a client share."""

from __future__ import annotations

from dataclasses import replace

from likeness.calls import CallOptions


class ClientBase:
    """Knows what goes along with a call that does not say."""

    _default: CallOptions

    def _options(self, options: CallOptions | None, timeout_seconds: float | None) -> CallOptions:
        chosen = options or self._default
        return chosen if timeout_seconds is None else replace(chosen, timeout_seconds=timeout_seconds)
