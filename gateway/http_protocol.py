"""HTTP/1.1 as uvicorn reads it, with bounds on the head of a request: its size, and how long it may take.

uvicorn's httptools reader bounds neither. Headers without end would grow the process until it is killed, and a client
that says nothing would keep its connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 2**10
"""Largest request line and headers together; beyond it the answer is 400 and the connection ends."""
HEAD_SECONDS = 30.0
"""How long the first byte and all headers of a request may take."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """Reads requests whose heads are neither too large nor too slow."""

    head_seconds: float = HEAD_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what uvicorn hands to each connection's protocol."""
        super().__init__(*arguments, **options)
        self._in_head = False
        self._head_began = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and refuse a head that has grown too large."""
        self._head_began = False
        super().data_received(data)
        # Where in these bytes a head began is not told; it counts from the next ones on, and is bounded all the same.
        if self._in_head and not self._head_began:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(f"The headers have more than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._in_head = self._head_began = True
        self._head_bytes = 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        """End a head."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        # An answer that is still being sent keeps its connection: the next request's head is not due yet.
        if self.cycle is None or self.cycle.response_complete:
            self._refuse("The request's headers did not arrive in time.")

    def _refuse(self, text: str) -> None:
        self._in_head = False
        self._stop_timer()
        if not self.transport.is_closing():
            self.send_400_response(text)
