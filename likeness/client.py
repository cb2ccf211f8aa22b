"""`AsyncClient`: the services of a deployment over gRPC, with typed results.

    async with AsyncClient() as client:
        drawing = await client.generate("a professional woman in a modern office", mode="fast")
        swap = await client.swap(drawing.pictures[0].picture.data, "me.jpg")
        swap.picture.save("office.png")

`likeness.sync.Client` is the same without ``await``. Both raise `likeness.errors.LikenessError`.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness._drawing_calls import EditCalls, GeneratorCalls
from likeness._drawing_client import DrawingMethods
from likeness._face_calls import FaceCalls
from likeness._face_client import FaceMethods
from likeness._lora_calls import LoraCalls
from likeness._lora_client import LoraMethods
from likeness.calls import CallOptions, UnaryCall
from likeness.channel import (
    DEFAULT_EDITOR_ADDRESS,
    DEFAULT_FACESWAP_ADDRESS,
    DEFAULT_GENERATOR_ADDRESS,
    ChannelOptions,
    open_channel,
)
from likeness.errors import LikenessError

GENERATOR_HEALTH = "likeness.generator.v1.GeneratorService"
FACESWAP_HEALTH = "likeness.faceswap.v1.FaceSwapService"
EDITOR_HEALTH = "likeness.editor.v1.EditorService"
HEALTH_TIMEOUT_SECONDS = 2.0


class AsyncClient(DrawingMethods, FaceMethods, LoraMethods):
    """Calls the services of a deployment. Use it as an async context manager, inside one event loop."""

    def __init__(
        self,
        generator_address: str = DEFAULT_GENERATOR_ADDRESS,
        faceswap_address: str = DEFAULT_FACESWAP_ADDRESS,
        editor_address: str | None = None,
        *,
        channel_options: ChannelOptions | None = None,
        default_options: CallOptions | None = None,
    ) -> None:
        """Take the services' addresses, ``host:port`` or a gRPC target. Connects with the first call.

        Not every deployment has an editor: where no address is given it's looked for at its default one when it's
        called, and `health` leaves it out.
        """
        self._default = default_options or CallOptions()
        generator_channel = open_channel(generator_address, channel_options)
        faceswap_channel = open_channel(faceswap_address, channel_options)
        editor_channel = open_channel(editor_address or DEFAULT_EDITOR_ADDRESS, channel_options)
        self._channels = {GENERATOR_HEALTH: generator_channel, FACESWAP_HEALTH: faceswap_channel}
        if editor_address:
            self._channels[EDITOR_HEALTH] = editor_channel
        self._open = (generator_channel, faceswap_channel, editor_channel)
        self._generator = GeneratorCalls(generator_channel)
        self._loras = LoraCalls(generator_channel)
        self._faces = FaceCalls(faceswap_channel)
        self._editor = EditCalls(editor_channel)

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the channels."""
        await self.close()

    async def close(self) -> None:
        """Close the channels; calls that still run are cancelled."""
        for channel in self._open:
            await channel.close()

    async def health(self, timeout_seconds: float = HEALTH_TIMEOUT_SECONDS) -> dict[str, str]:
        """Return the state of each service by its gRPC name: SERVING, NOT_SERVING or UNREACHABLE."""
        states = await asyncio.gather(
            *(self._health_of(name, channel, timeout_seconds) for name, channel in self._channels.items())
        )
        return dict(zip(self._channels, states, strict=True))

    async def _health_of(self, name: str, channel: grpc.aio.Channel, timeout_seconds: float) -> str:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        check: UnaryCall[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse] = UnaryCall(stub.Check, name)
        try:
            answer = await check(
                health_pb2.HealthCheckRequest(service=name), CallOptions(timeout_seconds=timeout_seconds)
            )
        except LikenessError:
            return "UNREACHABLE"
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
