"""Requests of one shape that wait together are drawn together, where the profile says so."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from PIL import Image

from core.qwen.loading import QwenImageModel
from core.qwen.profile import BatchTokensByDevice, load_profile
from core.qwen.request import resolve_request
from core.runtime.artifacts import ArtifactStore
from core.runtime.server import running_service
from core.runtime.worker import DeviceWorker
from likeness.generator.v1 import generator_service_pb2 as pb2
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, GenerateResponse
from services.generator.engine import GeneratorEngine
from services.generator.service import make_spec
from services.generator.settings import GeneratorSettings
from tests.support.generator import RunningGenerator

# 192×160 pixels are 120 tokens.
ROOM_FOR_FOUR = BatchTokensByDevice(cpu=480)


@pytest_asyncio.fixture
async def batching(settings: GeneratorSettings, model: QwenImageModel) -> AsyncIterator[RunningGenerator]:
    """The service with a profile that draws small pictures together."""
    settings = settings.model_copy(update={"queue_capacity": 8})
    model = dataclasses.replace(model, profile=dataclasses.replace(model.profile, batch_tokens=ROOM_FOR_FOUR))
    spec = make_spec(settings)
    worker = spec.worker
    assert worker is not None
    library = settings.make_library(model, ArtifactStore(settings.artifacts_url))
    spec = dataclasses.replace(spec, load=lambda: GeneratorEngine(model, worker, library))
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield RunningGenerator(channel, worker, model, library)


def small(prompt: str, seed: int, **changes: Any) -> GenerateRequest:
    return GenerateRequest(**{"prompt": prompt, "seed": seed, "width": 192, "height": 160, "steps": 3, **changes})


def pictures(events: list[GenerateResponse]) -> list[npt.NDArray[np.int64]]:
    return [
        np.asarray(Image.open(io.BytesIO(event.image.image.data)), dtype=int)
        for event in events
        if event.HasField("image")
    ]


async def together(generator: RunningGenerator, *requests: GenerateRequest) -> list[list[GenerateResponse]]:
    """Send requests while the device is busy, in their order, then let it go."""
    async with generator.busy_device() as release, AsyncExitStack() as stack:
        streams = []
        for request in requests:
            stream = generator.events(request)
            assert (await anext(stream)).HasField("queued")
            streams.append(stream)

        async def rest(stream: AsyncIterator[GenerateResponse]) -> list[GenerateResponse]:
            return [event async for event in stream]

        tasks = [asyncio.create_task(rest(stream)) for stream in streams]
        stack.callback(lambda: [task.cancel() for task in tasks])
        release.set()
        return await asyncio.gather(*tasks)


async def test_waiting_requests_of_one_shape_share_the_forwards(batching: RunningGenerator) -> None:
    requests = [small("a man", 1), small("a woman with long brown hair in a modern office", 2), small("a man", 3)]
    alone = [await batching.generate(request) for request in requests]
    with batching.counted_forwards() as forwards:
        drawn = await together(batching, *requests)
    assert len(forwards) == 2 * 3
    for events, expected in zip(drawn, alone, strict=True):
        assert events[-1].HasField("finished")
        assert np.abs(pictures(events)[0] - pictures(expected)[0]).max() <= 2


async def test_requests_of_other_shapes_are_drawn_apart(batching: RunningGenerator) -> None:
    with batching.counted_forwards() as forwards:
        await together(batching, small("a man", 1), small("a man", 1, steps=2), small("a man", 1, width=208))
    assert len(forwards) == 2 * (3 + 2 + 3)


async def test_pictures_of_one_request_are_drawn_together_and_match_those_drawn_alone(
    batching: RunningGenerator,
) -> None:
    with batching.counted_forwards() as forwards:
        events = await batching.generate(small("a man", 10, count=6))
    assert len(forwards) == 2 * 3 * 2  # four, then two
    assert [event.image.seed for event in events if event.HasField("image")] == [10, 11, 12, 13, 14, 15]
    last = pictures(await batching.generate(small("a man", 15)))[0]
    assert np.abs(pictures(events)[5] - last).max() <= 2


async def test_a_client_that_leaves_a_batch_does_not_disturb_the_other(batching: RunningGenerator) -> None:
    stays, leaves = small("a man", 1, steps=30), small("a woman in an office", 2, steps=30)
    async with batching.busy_device() as release:
        staying = batching.events(stays)
        assert (await anext(staying)).HasField("queued")
        leaving = batching.stub.Generate(leaves)
        assert (await anext(aiter(leaving))).HasField("queued")
        release.set()
        async for event in leaving:
            if event.HasField("step"):
                leaving.cancel()
                break
        events = [event async for event in staying]
    assert events[-1].HasField("finished")
    assert np.abs(pictures(events)[0] - pictures(await batching.generate(stays))[0]).max() <= 2


async def test_large_pictures_are_drawn_alone(batching: RunningGenerator) -> None:
    large = {"width": 320, "height": 320, "steps": 1}
    with batching.counted_forwards() as forwards:
        await batching.generate(small("a man", 1, count=2, **large))
    assert len(forwards) == 2 * 2


@pytest.mark.parametrize(
    ("device", "compiled", "request_", "expected"),
    [
        ("cuda:0", False, {"width": 512, "height": 512}, 4),
        ("cuda:0", False, {"width": 768, "height": 512}, 2),
        ("cuda:0", False, {}, 1),
        ("cuda:0", True, {"width": 512, "height": 512}, 1),
        ("cpu", False, {"width": 512, "height": 512}, 1),
    ],
)
def test_the_released_model_draws_small_pictures_together_on_a_gpu(
    settings: GeneratorSettings,
    model: QwenImageModel,
    device: str,
    compiled: bool,
    request_: dict[str, Any],
    expected: int,
) -> None:
    description = dataclasses.replace(model.description, device=device, compiled=compiled)
    model = dataclasses.replace(model, profile=load_profile("qwen"), description=description)
    worker = DeviceWorker("test")
    engine = GeneratorEngine(model, worker, settings.make_library(model, ArtifactStore(settings.artifacts_url)))
    assert engine.pictures_at_once(resolve_request(model.profile, prompt="a man", seed=0, **request_)) == expected
    worker.close()


async def test_a_request_of_high_priority_goes_before_the_tenants_others(generator: RunningGenerator) -> None:
    order: list[str] = []

    async def note(name: str, stream: AsyncIterator[GenerateResponse]) -> None:
        async for event in stream:
            if event.HasField("started"):
                order.append(name)

    async with generator.busy_device() as release:
        low = generator.events(small("a man", 1, steps=1, priority=pb2.PRIORITY_LOW))
        assert (await anext(low)).queued.position == 0
        high = generator.events(small("a man", 2, steps=1, priority=pb2.PRIORITY_HIGH))
        assert (await anext(high)).queued.position == 0
        assert (await anext(low)).queued.position == 1
        release.set()
        await asyncio.gather(note("low", low), note("high", high))
    assert order == ["high", "low"]
