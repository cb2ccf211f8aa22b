"""Serving the application with uvicorn, and ending well: not ready, then wait, then end what still runs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
import socket
from collections.abc import AsyncIterator
from types import FrameType

import uvicorn

from core.runtime.telemetry import log
from gateway.app import create_app
from gateway.connection import Lifecycle
from gateway.http_protocol import BoundedHeadProtocol
from gateway.settings import GatewaySettings

END_SECONDS = 5.0
"""How long work that is told to end may take for its last words."""

_logger = logging.getLogger("likeness.gateway")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TRIM_BYTES, _MMAP_BYTES = 512 * 2**20, 32 * 2**20


def keep_large_buffers() -> bool:
    """Have glibc keep buffers of pictures for the next request; tell whether it could.

    By default it maps each anew and the kernel clears it: several milliseconds for a picture of 1.5 MB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))


class GatewayServer(uvicorn.Server):
    """uvicorn that tells the application of its shutdown, and says where it listens."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Serve the application of ``settings``."""
        self.lifecycle = Lifecycle()
        self._settings = settings
        self._listening = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                create_app(settings, self.lifecycle),
                host=settings.host,
                port=settings.port,
                http=BoundedHeadProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                # The deployment's own proxy, if there is one, is configured in front of us; no header is believed.
                proxy_headers=False,
                timeout_graceful_shutdown=int(settings.drain_seconds + END_SECONDS),
                lifespan="on",
            )
        )

    @property
    def bound_port(self) -> int:
        """The port that it listens on. Raises RuntimeError before it does."""
        for server in self.servers if self.started else ():
            for listener in server.sockets:
                return int(listener.getsockname()[1])
        raise RuntimeError("the gateway does not listen yet")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell the port. Raises OSError when the port is taken."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            # uvicorn's own exit status is not that of the services.
            if self.lifespan.should_exit:
                raise RuntimeError("the gateway did not start; its log tells why") from error
            where = f"{self._settings.host}:{self._settings.port}"
            raise OSError(f"cannot listen on {where}: is the port taken?") from error
        if self.started:
            address = f"{self._settings.host}:{self.bound_port}"
            if not self._settings.port:
                print(f"gateway listens on {address}", flush=True)
            log(_logger, logging.INFO, "ready", service="gateway", address=address)
            self._listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more work, wait for what runs, and end what runs for too long."""
        self.lifecycle.drain()
        timer = asyncio.get_running_loop().call_later(self._settings.drain_seconds, self.lifecycle.expire)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown; a second signal ends what still runs."""
        if self.should_exit:
            self.lifecycle.expire()
        self.should_exit = True

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve in this event loop, without signal handlers, and yield the base URL. For tests and benchmarks."""
        serving = asyncio.create_task(self._serve())
        listening = asyncio.create_task(self._listening.wait())
        try:
            await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not self.started:
                raise RuntimeError("the gateway did not start; its log tells why")
            yield f"http://{self._settings.host}:{self.bound_port}"
        finally:
            listening.cancel()
            self.should_exit = True
            await serving


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port is taken, RuntimeError when it cannot start."""
    server = GatewayServer(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    await server._serve()
