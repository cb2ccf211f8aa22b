"""A service: its port answers at once, its model loads beside it, and it drains what was admitted before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from core.runtime import telemetry
from core.runtime.calls import CallInterceptor, Handler
from core.runtime.health import SERVICE_NAME as HEALTH_SERVICE
from core.runtime.health import Health
from core.runtime.settings import ServiceSettings
from core.runtime.worker import DeviceWorker
from likeness.errors import ModelLoading

Loaded = TypeVar("Loaded")

_logger = logging.getLogger(__name__)
_RETRY_WHILE_LOADING_SECONDS = 2.0
_LAST_BYTES_SECONDS = 5.0
_JOIN_SECONDS = 10.0


@dataclass(frozen=True)
class ServiceSpec(Generic[Loaded]):
    """What makes a service: how it loads, what it serves, and the worker that does its work."""

    name: str
    """Name of the process, for example ``generator``."""
    service_names: tuple[str, ...]
    """Full names of its gRPC services, for health and reflection."""
    load: Callable[[], Loaded]
    """Loads what the servicers need; blocking, called once in a thread of its own."""
    register: Callable[[grpc.aio.Server, Loaded], None]
    """Adds the servicers to a server, with the generated ``add_…Servicer_to_server``; called in the event loop."""
    worker: DeviceWorker | None = None
    """The worker that is drained and closed with the service."""


class Service(Generic[Loaded]):
    """A running service. `start`, then `wait_loaded`, at last `stop`."""

    def __init__(self, spec: ServiceSpec[Loaded], settings: ServiceSettings) -> None:
        """Make the service; needs a running event loop."""
        self.spec = spec
        self.settings = settings
        self.port = 0
        self._host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._began = time.monotonic()
        self._health = Health(spec.service_names)
        self._interceptor = CallInterceptor(spec.name)
        self._methods = _LateMethods(spec.service_names)
        self._server = grpc.aio.server(interceptors=(self._interceptor,), options=_options(settings))
        self._metrics: telemetry.MetricsServer | None = None
        self._loading: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        # Daemon: loading cannot be interrupted, and must not keep a process that is told to stop.
        self._loader = threading.Thread(target=self._load, name=f"{spec.name}-load", daemon=True)

    @property
    def address(self) -> str:
        """Where clients reach the service, ``host:port``."""
        return f"{self._host}:{self.port}"

    @property
    def loading(self) -> bool:
        """Whether the loader's thread still runs."""
        return self._loader.is_alive()

    async def start(self) -> None:
        """Listen, and begin to load. Raises OSError when the port is taken."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self.spec.service_names, HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._server.add_generic_rpc_handlers((self._methods,))
        try:
            self.port = self._server.add_insecure_port(f"{self._host}:{self.settings.port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._host}:{self.settings.port}: is the port taken?") from error
        if self.settings.metrics_port:
            self._metrics = telemetry.MetricsServer.start(self.settings.host, self.settings.metrics_port)
        await self._server.start()
        telemetry.log(_logger, logging.INFO, "listening", service=self.spec.name, address=self.address)
        self._loader.start()

    async def wait_loaded(self) -> None:
        """Return when the service serves. Raises what `ServiceSpec.load` raised."""
        loaded = await asyncio.shield(self._loading)
        if not self._methods.open:
            self.spec.register(cast(grpc.aio.Server, self._methods), loaded)
            self._methods.open = True
            await self._health.set_serving(True)
            seconds = round(time.monotonic() - self._began, 3)
            telemetry.log(
                _logger, logging.INFO, "ready", service=self.spec.name, address=self.address, load_seconds=seconds
            )

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Say NOT_SERVING, let what was admitted end, then stop listening, and wait for the worker's thread.

        What has not ended after `drain_seconds` (the settings' when left out) is stopped at its next step.
        """
        left = _Budget(self.settings.drain_seconds if drain_seconds is None else drain_seconds)
        await self._health.shut_down()
        drained = self.spec.worker is None or await self.spec.worker.drain(left.seconds)
        drained = await self._interceptor.wait_idle(left.seconds) and drained
        telemetry.log(_logger, logging.INFO, "stopping", service=self.spec.name, drained=drained)
        if self.spec.worker is not None and not await asyncio.to_thread(self.spec.worker.close, _JOIN_SECONDS):
            telemetry.log(_logger, logging.ERROR, "the worker's thread did not end", service=self.spec.name)
        await self._server.stop(0.1 if drained else _LAST_BYTES_SECONDS)
        if self._metrics is not None:
            await asyncio.to_thread(self._metrics.close)
        if not self._loading.done():
            self._loading.cancel()

    def _load(self) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = self.spec.load()
        except BaseException as error:
            failure = error
        # The loop has closed when the process was told to stop while it loaded.
        with contextlib.suppress(RuntimeError):
            self._loading.get_loop().call_soon_threadsafe(self._finish_loading, result, failure)

    def _finish_loading(self, result: Loaded, failure: BaseException | None) -> None:
        if self._loading.done():
            return
        if failure is None:
            self._loading.set_result(result)
        elif isinstance(failure, Exception):
            self._loading.set_exception(failure)
        else:  # SystemExit and the like: a future does not take them
            self._loading.set_exception(RuntimeError(f"loading ended with {failure!r}"))


class _LateMethods(grpc.GenericRpcHandler):
    """The methods of the services, which are known only once the model is loaded.

    Stands in for a server in the generated ``add_…Servicer_to_server``. Until it is `open`, every method of its
    services answers ModelLoading.
    """

    def __init__(self, service_names: tuple[str, ...]) -> None:
        self.open = False
        self._prefixes = tuple(f"/{name}/" for name in service_names)
        self._handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        """Take handlers as a server does."""
        self._handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Handler]) -> None:
        """Do nothing: the generic handlers hold the same methods."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of a method; None when there is no such method."""
        if not self.open:
            known = handler_call_details.method.startswith(self._prefixes)
            return grpc.unary_unary_rpc_method_handler(_refuse_while_loading) if known else None
        found = (handler.service(handler_call_details) for handler in self._handlers)
        return next((handler for handler in found if handler is not None), None)


async def _refuse_while_loading(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    raise ModelLoading("the service still loads its weights", retry_after_seconds=_RETRY_WHILE_LOADING_SECONDS)


class _Budget:
    """Seconds that are spent by several waits in turn."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """What is left, at least 0."""
        return max(0.0, self._ends - time.monotonic())


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    """Options of the server; a client's keepalive must not be faster than the shortest ping interval allowed here."""
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 15_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace_seconds * 1000)),
        ("grpc.so_reuseport", 0),
    ]
