from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import grpc.aio
import pytest
import torch
from safetensors.torch import save

from likeness.errors import ArtifactCorrupt
from likeness.generator.v1.generator_service_pb2 import GetCapabilitiesRequest, LoraSelection
from likeness.generator.v1.lora_service_pb2 import DeleteLoraRequest
from services.generator.settings import GeneratorSettings
from tests.support.checkpoint import random_lora
from tests.support.generator import RunningGenerator
from tests.support.registry import Registry, lora_file, picture, request, use


async def test_a_lora_changes_the_picture_and_is_named_with_its_version(registry: Registry) -> None:
    await registry.register("anna", lora_file(1))
    await registry.register("anna", lora_file(2))
    events = await registry.generator.generate(request(use("anna", strength=0.5)))
    assert list(events[-1].finished.loras) == [use("anna", version=2, strength=0.5)]
    base, newest = await registry.draw(), picture(events)
    first = await registry.draw(use("anna", version=1, strength=0.5))
    stronger = await registry.draw(use("anna"))
    assert len({base, newest, first, stronger}) == 4


@pytest.mark.parametrize("mode", ["full", "fast"])
async def test_strength_zero_draws_what_is_drawn_without_it(registry: Registry, mode: str) -> None:
    await registry.register("anna", trigger_word="ohwx")
    assert await registry.draw(use("anna", strength=0), mode=mode) == await registry.draw(mode=mode)


async def test_the_fast_modes_own_lora_goes_on_acting(registry: Registry) -> None:
    await registry.register("same-as-fast", save(random_lora()))
    await registry.register("anna")
    fast = await registry.draw(mode="fast")
    # Taking the mode's own LoRA away leaves what is drawn without it: so it did act beside the request's.
    without = await registry.draw(use("same-as-fast", strength=-1), mode="fast")
    assert len({fast, without, await registry.draw(use("anna"), mode="fast")}) == 3
    assert await registry.draw(mode="fast") == fast


async def test_two_at_once_differ_from_each_and_their_order_does_not_matter(registry: Registry) -> None:
    await registry.register("anna", lora_file(1))
    await registry.register("style", lora_file(2, rank=9))
    anna, style = use("anna"), use("style", strength=0.5)
    both = await registry.draw(anna, style)
    assert both not in {await registry.draw(anna), await registry.draw(style), await registry.draw()}
    assert await registry.draw(style, anna) == both


async def test_interleaved_requests_do_not_reach_each_other(registry: Registry) -> None:
    await registry.register("anna", lora_file(1))
    await registry.register("bob", lora_file(2, rank=7))
    requests = [
        request(),
        request(use("anna")),
        request(use("bob", strength=-1)),
        request(use("anna"), use("bob")),
        request(mode="fast"),
        request(use("bob"), mode="fast"),
    ]
    alone = [picture(await registry.generator.generate(each)) for each in requests]
    assert len(set(alone)) == len(requests)
    order = [3, 0, 5, 1, 4, 2, 0, 3, 1, 5]

    async def draw(number: int) -> str:
        return picture(await registry.generator.generate(requests[number], metadata=[("x-tenant-id", f"t{number}")]))

    for begin in range(0, len(order), 2):  # two at a time: the queue of these tests takes no more
        numbers = order[begin : begin + 2]
        assert await asyncio.gather(*map(draw, numbers)) == [alone[number] for number in numbers]


async def test_thirty_loras_in_turn_leave_memory_flat_and_the_base_as_it_was(registry: Registry) -> None:
    base = await registry.draw()
    cache = registry.generator.loras.cache

    async def cycle(number: int) -> None:
        await registry.register(f"lora-{number}", lora_file(number, rank=4))
        await registry.draw(use(f"lora-{number}"), steps=1)
        await registry.stub.DeleteLora(DeleteLoraRequest(lora_id=f"lora-{number}"))

    def tensors() -> int:
        gc.collect()
        return sum(type(item) in (torch.Tensor, torch.nn.Parameter) for item in gc.get_objects())

    await cycle(0)
    before = tensors()
    for number in range(1, 31):
        await cycle(number)
    assert len(cache) == 0
    assert tensors() <= before + 4
    assert await registry.draw() == base


async def test_loaded_loras_are_bounded(registry: Registry, settings: GeneratorSettings) -> None:
    for number in range(settings.lora_cache_count + 3):
        await registry.register(f"lora-{number}", lora_file(number))
        await registry.draw(use(f"lora-{number}"), steps=1)
    assert len(registry.generator.loras.cache) == settings.lora_cache_count


@pytest.mark.parametrize(
    ("loras", "field", "reason"),
    [
        ([use("nobody")], "loras[0].lora_id", "LORA_NOT_FOUND"),
        ([use("anna"), use("anna", version=9)], "loras[1].lora_id", "LORA_NOT_FOUND"),
        ([use("anna"), use("anna", version=1)], "loras[1].lora_id", "INVALID_REQUEST"),
        ([use("../anna")], "loras[0].lora_id", "INVALID_REQUEST"),
        ([use("anna", strength=9)], "loras[0].strength", "INVALID_REQUEST"),
        ([use("anna", strength=float("nan"))], "loras[0].strength", "INVALID_REQUEST"),
        ([use("anna")] * 5, "loras", "INVALID_REQUEST"),
        ([use("wide-0"), use("wide-1"), use("wide-2"), use("anna")], "loras", "INVALID_REQUEST"),
    ],
)
async def test_loras_that_cannot_act_are_refused_before_anything_is_drawn(
    registry: Registry, loras: list[LoraSelection], field: str, reason: str
) -> None:
    await registry.register("anna")
    for number in range(3):
        await registry.register(f"wide-{number}", lora_file(number, rank=64))
    with registry.generator.counted_forwards() as forwards:
        error = await registry.generator.refusal(request(*loras))
    assert (error.reason, error.field) == (reason, field)
    assert not forwards


async def test_a_full_queue_refuses_before_a_lora_is_looked_up(registry: Registry) -> None:
    generator = registry.generator
    async with generator.busy_device():
        waiting = [generator.stub.Generate(request()) for _ in range(generator.worker.capacity)]
        for call in waiting:
            assert (await call.read()).HasField("queued")
        assert (await generator.refusal(request(use("nobody")))).reason == "QUEUE_FULL"
        for call in waiting:
            call.cancel()


async def test_a_damaged_file_is_told_before_anything_is_drawn(registry: Registry, settings: GeneratorSettings) -> None:
    await registry.register("anna")
    file = next(Path(settings.artifacts_url).rglob("loras/anna/*/*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    error = await registry.generator.refusal(request(use("anna")))
    assert (type(error), error.code) == (ArtifactCorrupt, grpc.StatusCode.DATA_LOSS)


async def test_the_trigger_word_of_the_registry_is_put_in_front(registry: Registry) -> None:
    await registry.register("anna", trigger_word="office")
    silent = await registry.register("silent", lora_file())
    assert silent.trigger_word == ""
    by_registry = await registry.draw(use("anna"))
    by_request = await registry.draw(use("silent"), trigger_word="office")
    assert by_registry == by_request != await registry.draw(use("silent"))


async def test_capabilities_tell_the_limits_of_loras(generator: RunningGenerator) -> None:
    answer = await generator.stub.GetCapabilities(GetCapabilitiesRequest())
    assert (answer.max_loras, answer.max_lora_rank, answer.max_total_lora_rank) == (4, 64, 192)
