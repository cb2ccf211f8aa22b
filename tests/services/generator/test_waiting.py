from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from core.qwen.loading import QwenImageModel
from core.runtime.artifacts import ArtifactStore
from core.runtime.server import running_service
from likeness.errors import (
    DeadlineExceeded,
    DeadlineTooShort,
    ModelLoading,
    QueueFull,
    ServiceUnavailable,
    from_rpc_error,
)
from likeness.generator.v1.generator_service_pb2 import GenerateRequest
from likeness.generator.v1.generator_service_pb2_grpc import GeneratorServiceStub
from services.generator.engine import GeneratorEngine
from services.generator.service import SERVICE_NAMES, make_spec
from services.generator.settings import GeneratorSettings
from tests.support.generator import RunningGenerator, refusal_of

QUICK = GenerateRequest(prompt="a man", seed=1, steps=1, width=160, height=160)
LONG = GenerateRequest(prompt="a man", seed=1, steps=100, count=8)


async def test_waiting_calls_are_told_their_position_as_it_changes(generator: RunningGenerator) -> None:
    async with generator.busy_device() as release:
        # One after the other: calls that start together reach the server in any order.
        first = generator.events(QUICK)
        assert (await anext(first)).queued.position == 0
        second = generator.events(QUICK)
        assert (await anext(second)).queued.position == 1
        release.set()
        assert (await anext(second)).queued.position == 0
        assert [event.WhichOneof("event") async for event in second] == ["started", "step", "image", "finished"]


async def test_full_queue_refuses_at_once_and_says_when_to_come_back(generator: RunningGenerator) -> None:
    async with generator.busy_device() as release:
        waiting = [generator.events(QUICK) for _ in range(2)]
        for events in waiting:
            assert (await anext(events)).HasField("queued")
        error = await generator.refusal(QUICK)
        assert isinstance(error, QueueFull)
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.retry_after_seconds is not None
        assert error.retry_after_seconds > 0
        release.set()
        assert [event.WhichOneof("event") async for event in waiting[1]][-1] == "finished"


async def test_a_client_that_leaves_frees_the_device_within_a_step(generator: RunningGenerator) -> None:
    with generator.held_forwards() as held:
        call = generator.stub.Generate(LONG)
        reading = asyncio.create_task(anext(aiter(call)))
        assert await asyncio.to_thread(held.entered.wait, 10)
        call.cancel()
        async with asyncio.timeout(10):
            while not all(token.cancelled for token in generator.running_tokens()):
                await asyncio.sleep(0.001)
            held.release.set()
            while generator.worker.busy:
                await asyncio.sleep(0.001)
    # The step in which the client left, with and without the negative prompt.
    assert held.forwards <= 2
    await asyncio.wait({reading})
    assert (await generator.generate(QUICK))[-1].HasField("finished")


async def test_a_client_that_leaves_the_queue_gives_up_its_place(generator: RunningGenerator) -> None:
    async with generator.busy_device():
        leaving = generator.stub.Generate(QUICK)
        assert (await anext(aiter(leaving))).queued.position == 0
        staying = generator.events(QUICK)
        assert (await anext(staying)).queued.position == 1
        leaving.cancel()
        assert (await anext(staying)).queued.position == 0


async def test_deadline_stops_the_work(generator: RunningGenerator) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await generator.generate(LONG, timeout=0.5)
    assert isinstance(from_rpc_error(failed.value), DeadlineExceeded)
    assert (await generator.generate(QUICK))[-1].HasField("finished")


async def test_a_deadline_that_cannot_be_met_is_refused_and_not_queued(generator: RunningGenerator) -> None:
    request = GenerateRequest(prompt="a man", seed=1, steps=2)
    await generator.generate(request)
    request.steps, request.count = 100, 8
    with generator.counted_forwards() as forwards:
        error = await generator.refusal(request, timeout=0.5)
    assert isinstance(error, DeadlineTooShort)
    assert forwards == []


async def test_calls_while_the_model_loads_are_told_to_come_back(
    settings: GeneratorSettings, model: QwenImageModel
) -> None:
    may_load = threading.Event()
    spec = make_spec(settings)
    worker = spec.worker
    assert worker is not None

    def load() -> GeneratorEngine:
        may_load.wait(60)
        return GeneratorEngine(model, worker, settings.make_library(model, ArtifactStore(settings.artifacts_url)))

    spec = dataclasses.replace(spec, load=load)
    async with (
        running_service(spec, settings, wait_until_loaded=False) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health_stub: Any = health_pb2_grpc.HealthStub(channel)
        health = health_stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE_NAMES[0]))
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stub: Any = GeneratorServiceStub(channel)
        error = await refusal_of(stub.Generate(QUICK))
        assert isinstance(error, ModelLoading)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.retry_after_seconds is not None
        may_load.set()
        assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert [event async for event in stub.Generate(QUICK)][-1].HasField("finished")


async def test_a_service_that_is_down_is_unavailable(unused_tcp_port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}") as channel:
        error = await refusal_of(GeneratorServiceStub(channel).Generate(QUICK))
    assert isinstance(error, ServiceUnavailable)
    assert error.code is grpc.StatusCode.UNAVAILABLE


async def test_concurrent_calls_of_both_modes_do_not_disturb_each_other(generator: RunningGenerator) -> None:
    fast = GenerateRequest(prompt="a woman", seed=2, mode="fast", width=160, height=160)

    async def sha(request: GenerateRequest) -> str:
        events = await generator.generate(request)
        return str(events[-2].image.image.sha256)

    alone = [await sha(QUICK), await sha(fast)]
    assert list(await asyncio.gather(sha(QUICK), sha(fast))) == alone
    assert list(await asyncio.gather(sha(fast), sha(QUICK))) == alone[::-1]
