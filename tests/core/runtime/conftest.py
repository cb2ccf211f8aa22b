"""A small service over the real contract, with work that the tests hold in their hands."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest

from core.runtime.cancellation import CancelToken
from core.runtime.server import ServiceSpec
from core.runtime.settings import ServiceSettings
from core.runtime.worker import DeviceWorker, Emit, Queued, Started
from likeness.common.v1 import progress_pb2
from likeness.errors import NoFace
from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc

SERVICE = "likeness.generator.v1.GeneratorService"


class Steps:
    """Endless work: a step whenever the test allows one, and a note of how it ended."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.entered = threading.Event()
        self.left = threading.Event()
        self.stopped_by: BaseException | None = None

    def __call__(self, token: CancelToken, emit: Emit) -> int:
        self.entered.set()
        done = 0
        try:
            while True:
                token.check()
                if self.allowed.acquire(timeout=0.005):
                    done += 1
                    emit(progress_pb2.Step(step=done))
        except BaseException as error:
            self.stopped_by = error
            raise
        finally:
            self.left.set()


class FakeServicer(rpc.GeneratorServiceServicer):
    """Does what the prompt says."""

    def __init__(self, worker: DeviceWorker, steps: Steps) -> None:
        self.worker = worker
        self.steps = steps

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        if request.prompt == "no face":
            raise NoFace("nobody is there", field="reference_image", faces="0")
        if request.prompt == "crash":
            raise RuntimeError("secret of the house")
        work = self.steps if request.prompt == "steps" else (lambda token, emit: 7)
        async for event in self.worker.stream(work, token=CancelToken.for_call(context)):
            if isinstance(event, Queued):
                yield pb.GenerateResponse(queued=progress_pb2.Queued(position=event.position))
            elif isinstance(event, Started):
                yield pb.GenerateResponse(started=progress_pb2.Started())
            elif isinstance(event, progress_pb2.Step):
                yield pb.GenerateResponse(step=event)
            else:
                yield pb.GenerateResponse(finished=pb.GenerateFinished(seed=event.value))

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Any) -> pb.GetCapabilitiesResponse:
        return pb.GetCapabilitiesResponse(queue_capacity=self.worker.capacity)


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def worker() -> Iterator[DeviceWorker]:
    worker = DeviceWorker("test", capacity=3)
    yield worker
    assert worker.close()


@pytest.fixture
def spec(worker: DeviceWorker, steps: Steps) -> ServiceSpec[FakeServicer]:
    def register(server: grpc.aio.Server, servicer: FakeServicer) -> None:
        rpc.add_GeneratorServiceServicer_to_server(servicer, server)

    return ServiceSpec(
        name="test",
        service_names=(SERVICE,),
        load=lambda: FakeServicer(worker, steps),
        register=register,
        worker=worker,
    )


@pytest.fixture
def settings() -> ServiceSettings:
    return ServiceSettings(drain_seconds=10)
