"""A running generator, as tests talk to it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from core.qwen.loading import QwenImageModel
from core.qwen.loras.library import LoraLibrary
from core.runtime.cancellation import CancelToken
from core.runtime.worker import DeviceWorker
from likeness.errors import LikenessError, from_rpc_error
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, GenerateResponse
from likeness.generator.v1.generator_service_pb2_grpc import GeneratorServiceStub


@dataclass(frozen=True, repr=False)
class RunningGenerator:
    """The service behind a channel, with the parts that tests look into."""

    channel: grpc.aio.Channel
    worker: DeviceWorker
    model: QwenImageModel
    loras: LoraLibrary

    @property
    def stub(self) -> Any:
        """The generated client."""
        return GeneratorServiceStub(self.channel)

    def events(self, request: GenerateRequest, **call: Any) -> AsyncIterator[GenerateResponse]:
        """Begin a call and return its events as they come."""
        events: AsyncIterator[GenerateResponse] = aiter(self.stub.Generate(request, **call))
        return events

    async def generate(self, request: GenerateRequest, **call: Any) -> list[GenerateResponse]:
        """Return every event of a call that ends well."""
        return [event async for event in self.stub.Generate(request, **call)]

    async def refusal(self, request: GenerateRequest, **call: Any) -> LikenessError:
        """Return the error of a call that must fail."""
        return await refusal_of(self.stub.Generate(request, **call))

    @contextlib.asynccontextmanager
    async def busy_device(self) -> AsyncIterator[threading.Event]:
        """Keep the device at work until the block ends, or the event is set."""
        release, started = threading.Event(), threading.Event()

        def work(token: CancelToken, emit: Any) -> None:
            started.set()
            release.wait(60)

        self.worker.submit(work, token=CancelToken(), emit=lambda event: None)
        assert started.wait(10)
        try:
            yield release
        finally:
            release.set()

    def running_tokens(self) -> list[CancelToken]:
        """Return the tokens of the work that runs."""
        return [ticket.token for ticket in self.worker._running]

    @contextlib.contextmanager
    def held_forwards(self) -> Iterator[HeldForwards]:
        """Hold the transformer's forward passes until the test lets go, or the block ends."""
        held = HeldForwards()
        hook = self.model.pipeline.transformer.register_forward_hook(held)
        try:
            yield held
        finally:
            held.release.set()
            hook.remove()

    @contextlib.contextmanager
    def counted_forwards(self) -> Iterator[list[None]]:
        """Count the transformer's forward passes, one entry each."""
        forwards: list[None] = []
        hook = self.model.pipeline.transformer.register_forward_hook(lambda *_: forwards.append(None))
        try:
            yield forwards
        finally:
            hook.remove()


@dataclass
class HeldForwards:
    """The transformer's forward passes, each held until the test lets go."""

    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    forwards: int = 0

    def __call__(self, *_: Any) -> None:
        """Note a forward pass, and hold it."""
        self.forwards += 1
        self.entered.set()
        assert self.release.wait(60)


async def refusal_of(call: Any) -> LikenessError:
    """Return the error that a call ends with, before it has answered anything."""
    try:
        answers = [event async for event in call] if hasattr(call, "__aiter__") else [await call]
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError(f"the call ended well: {answers}")
