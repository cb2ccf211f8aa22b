"""Runs a service as a process: signals, exit status, and the same within a test."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from core.runtime import telemetry
from core.runtime.service import Service, ServiceSpec
from core.runtime.settings import ServiceSettings, SettingsError

__all__ = ["Service", "ServiceSpec", "run_service", "running_service", "serve"]

_logger = logging.getLogger(__name__)


async def serve(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Raises:
        OSError: The port is taken.
        Exception: Whatever `ServiceSpec.load` raised; the port is closed by then.
    """
    await _serve(Service(spec, settings))


async def _serve(service: Service[Any]) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    told_twice = asyncio.Event()

    def on_signal() -> None:
        (told_twice if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await service.start()
    if not service.settings.port:
        print(f"{service.spec.name} listens on {service.address}", flush=True)
    loaded = asyncio.create_task(service.wait_loaded())
    waiting = asyncio.create_task(told.wait())
    try:
        await asyncio.wait((loaded, waiting), return_when=asyncio.FIRST_COMPLETED)
        if loaded.done() and loaded.exception() is None:
            await waiting
    finally:
        loaded.cancel()
        waiting.cancel()
        await _stop_or_hurry(service, told_twice)
    if loaded.done() and not loaded.cancelled():
        loaded.result()


async def _stop_or_hurry(service: Service[Any], hurry: asyncio.Event) -> None:
    stopping = asyncio.create_task(service.stop())
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not stopping.done():
        stopping.cancel()
        await service.stop(drain_seconds=0)
    else:
        stopping.result()


def run_service(make_spec: Callable[[Any], ServiceSpec[Any]], settings_class: type[ServiceSettings]) -> int:
    """Run a service as the process's main function; return the exit status.

    Args:
        make_spec: Makes the service from its settings.
        settings_class: The settings, which are read from the environment and the file.
    """
    try:
        settings = settings_class.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    telemetry.configure_logging(settings.log_level, settings.log_format)
    status = 0
    loading = False

    async def main() -> None:
        nonlocal loading
        service = Service(make_spec(settings), settings)
        try:
            await _serve(service)
        finally:
            loading = service.loading

    try:
        asyncio.run(main())
    except Exception as error:
        telemetry.log(_logger, logging.CRITICAL, "the service failed", exc_info=error, service=settings.service)
        status = 1
    if loading:
        # The interpreter would tear libraries down under the loading thread, which may crash.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
    return status


@contextlib.asynccontextmanager
async def running_service(
    spec: ServiceSpec[Any], settings: ServiceSettings, *, wait_until_loaded: bool = True
) -> AsyncIterator[str]:
    """Run a service in this process, for tests and examples; yield its address.

    Args:
        spec: The service.
        settings: Its settings; leave the port 0.
        wait_until_loaded: Whether to enter the block only when it serves; otherwise it loads meanwhile.
    """
    service = Service(spec, settings)
    loaded: asyncio.Task[None] | None = None
    try:
        await service.start()
        loaded = asyncio.create_task(service.wait_loaded())
        if wait_until_loaded:
            await loaded
        yield service.address
    finally:
        if loaded is not None:
            loaded.cancel()
        await service.stop(drain_seconds=0)
