"""The standard health service (grpc.health.v1), with states that watchers always see.

grpcio's own asyncio servicer forgets its other watchers of a service when one leaves, and lets watchers hold up a
server that wants to stop; this one ends their streams when it shuts down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE_NAME = "grpc.health.v1.Health"
"""Full name of the health service."""
OVERALL = ""
"""Name under which the whole process has its state."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc, unused-ignore]
    """Holds one state for the process and each of its services. For one event loop."""

    def __init__(self, service_names: Iterable[str]) -> None:
        """Start with every service, and the process, NOT_SERVING."""
        self._names = frozenset({OVERALL, *service_names})
        self._serving = False
        self._ended = False
        self._changed = asyncio.Condition()

    async def set_serving(self, serving: bool) -> None:
        """Set the state of the process and all its services; has no effect after `shut_down`."""
        async with self._changed:
            self._serving = serving and not self._ended
            self._changed.notify_all()

    async def shut_down(self) -> None:
        """Say NOT_SERVING for good, and end the streams of all watchers."""
        async with self._changed:
            self._serving = False
            self._ended = True
            self._changed.notify_all()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Answer with the state of a service; NOT_FOUND when there is no such service."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return self._response(request.service)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer with the state of a service now and whenever it changes."""
        last: int | None = None
        while True:
            async with self._changed:
                while not self._ended and self._response(request.service).status == last:
                    await self._changed.wait()
                response, ended = self._response(request.service), self._ended
            if response.status != last:
                last = response.status
                yield response
            if ended:
                return

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._names:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        serving = health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(
            status=serving if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
