from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import torch
from safetensors.torch import save

from core.runtime.artifacts import ArtifactStore
from likeness.errors import ArtifactCorrupt, InvalidRequest, LikenessError, LoraNotFound, PayloadTooLarge
from likeness.generator.v1.generator_service_pb2 import (
    GenerateRequest,
    GenerateResponse,
    GetCapabilitiesRequest,
    LoraSelection,
)
from likeness.generator.v1.lora_service_pb2 import (
    DeleteLoraRequest,
    GetLoraRequest,
    ListLorasRequest,
    Lora,
    RegisterLoraRequest,
    UploadLoraRequest,
    UploadLoraStart,
)
from likeness.generator.v1.lora_service_pb2_grpc import LoraServiceStub
from services.generator.settings import GeneratorSettings
from tests.support.checkpoint import random_lora
from tests.support.generator import RunningGenerator, refusal_of


def lora_file(seed: int = 11, *, rank: int = 4) -> bytes:
    """Return a LoRA whose effect is plain to see."""
    data: bytes = save(random_lora(rank=rank, seed=seed))
    return data


def request(*loras: LoraSelection, **fields: Any) -> GenerateRequest:
    """Ask for a small picture in a few steps."""
    if fields.get("mode") != "fast":
        fields = {"steps": 2, "true_cfg_scale": 1, **fields}
    return GenerateRequest(prompt="a man", seed=1, width=160, height=160, loras=loras, **fields)


def use(lora_id: str, **fields: Any) -> LoraSelection:
    return LoraSelection(lora_id=lora_id, **fields)


def picture(events: list[GenerateResponse]) -> str:
    """Return the hash of the first picture."""
    return next(event.image.image.sha256 for event in events if event.HasField("image"))


class Registry:
    """The registry of a running generator."""

    def __init__(self, generator: RunningGenerator) -> None:
        self.generator = generator
        self.stub: Any = LoraServiceStub(generator.channel)

    async def register(self, lora_id: str, data: bytes | None = None, **fields: Any) -> Lora:
        message = RegisterLoraRequest(lora_id=lora_id, data=lora_file() if data is None else data, **fields)
        lora: Lora = (await self.stub.RegisterLora(message)).lora
        return lora

    async def refusal(self, lora_id: str, data: bytes) -> LikenessError:
        return await refusal_of(self.stub.RegisterLora(RegisterLoraRequest(lora_id=lora_id, data=data)))

    async def draw(self, *loras: LoraSelection, **fields: Any) -> str:
        return picture(await self.generator.generate(request(*loras, **fields)))


@pytest.fixture
def registry(generator: RunningGenerator) -> Registry:
    return Registry(generator)


async def test_a_registered_lora_is_described_and_listed(registry: Registry) -> None:
    data = lora_file(rank=6)
    lora = await registry.register("anna", data, trigger_word="ohwx woman")
    assert (lora.lora_id, lora.version, lora.trigger_word, lora.rank) == ("anna", 1, "ohwx woman", 6)
    assert (lora.format, lora.modules, lora.base_model) == ("diffusers", 10, "likeness/test")
    assert (lora.size_bytes, lora.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert lora.create_time.seconds > 1_700_000_000
    assert (await registry.stub.GetLora(GetLoraRequest(lora_id="anna"))).lora == lora
    assert list((await registry.stub.ListLoras(ListLorasRequest())).loras) == [lora]


async def test_pages_follow_each_other(registry: Registry) -> None:
    for name in ("c", "a", "b"):
        await registry.register(name)
    first = await registry.stub.ListLoras(ListLorasRequest(page_size=2))
    second = await registry.stub.ListLoras(ListLorasRequest(page_size=2, page_token=first.next_page_token))
    assert [[lora.lora_id for lora in page.loras] for page in (first, second)] == [["a", "b"], ["c"]]
    assert second.next_page_token == ""
    error = await refusal_of(registry.stub.ListLoras(ListLorasRequest(page_token="../x")))
    assert error.field == "page_token"


async def test_registrations_at_the_same_time_get_versions_of_their_own(registry: Registry) -> None:
    loras = await asyncio.gather(*(registry.register("anna", lora_file(seed)) for seed in range(6)))
    assert sorted(lora.version for lora in loras) == [1, 2, 3, 4, 5, 6]


async def test_a_deleted_lora_is_not_found_and_its_version_not_given_again(registry: Registry) -> None:
    await registry.register("anna")
    await registry.register("anna")
    await registry.draw(use("anna"))  # so that it is in memory
    assert list((await registry.stub.DeleteLora(DeleteLoraRequest(lora_id="anna"))).versions) == [1, 2]
    for method, kind in ((registry.stub.GetLora, GetLoraRequest), (registry.stub.DeleteLora, DeleteLoraRequest)):
        assert isinstance(await refusal_of(method(kind(lora_id="anna"))), LoraNotFound)
    error = await registry.generator.refusal(request(use("anna", version=2)))
    assert (type(error), error.field) == (LoraNotFound, "loras[0].lora_id")
    assert (await registry.register("anna")).version == 3


async def test_a_lora_of_the_artifact_store_is_registered(registry: Registry, settings: GeneratorSettings) -> None:
    data = lora_file()
    uri = ArtifactStore(settings.artifacts_url).put("training/7", data, ".safetensors")
    lora = (await registry.stub.RegisterLora(RegisterLoraRequest(lora_id="anna", artifact_uri=uri))).lora
    assert lora.sha256 == hashlib.sha256(data).hexdigest()
    missing = f"artifact://training/{'0' * 64}.safetensors"
    error = await refusal_of(registry.stub.RegisterLora(RegisterLoraRequest(lora_id="anna", artifact_uri=missing)))
    assert (error.reason, error.field) == ("ARTIFACT_NOT_FOUND", "artifact_uri")


def parts(data: bytes, *, size: int = 10_000, **start: Any) -> AsyncIterator[UploadLoraRequest]:
    async def stream() -> AsyncIterator[UploadLoraRequest]:
        yield UploadLoraRequest(start=UploadLoraStart(**{"lora_id": "anna", **start}))
        for begin in range(0, len(data), size):
            yield UploadLoraRequest(chunk=data[begin : begin + size])

    return stream()


async def test_a_file_may_come_in_parts(registry: Registry) -> None:
    data = lora_file()
    sha256 = hashlib.sha256(data).hexdigest()
    lora = (await registry.stub.UploadLora(parts(data, sha256=sha256, trigger_word="ohwx"))).lora
    assert (lora.version, lora.sha256, lora.trigger_word) == (1, sha256, "ohwx")
    assert await registry.draw(use("anna")) != await registry.draw()


async def test_a_bad_upload_is_refused(registry: Registry) -> None:
    data = lora_file()

    async def chunk_first() -> AsyncIterator[UploadLoraRequest]:
        yield UploadLoraRequest(chunk=data)

    async def two_starts() -> AsyncIterator[UploadLoraRequest]:
        for _ in range(2):
            yield UploadLoraRequest(start=UploadLoraStart(lora_id="anna"))

    async def nothing() -> AsyncIterator[UploadLoraRequest]:
        return
        yield

    for stream, field in (
        (chunk_first(), "start"),
        (two_starts(), "start"),
        (nothing(), "start"),
        (parts(data, sha256="0" * 64), "start.sha256"),
        (parts(data, lora_id="../x"), "start.lora_id"),
        (parts(data[:-8]), "chunk"),
        (parts(b""), "chunk"),
    ):
        error = await refusal_of(registry.stub.UploadLora(stream))
        assert (type(error), error.field) == (InvalidRequest, field)
    assert not (await registry.stub.ListLoras(ListLorasRequest())).loras


async def test_an_upload_above_the_limit_is_refused_while_it_is_still_sent(
    registry: Registry, generator: RunningGenerator, settings: GeneratorSettings
) -> None:
    limit = (await generator.stub.GetCapabilities(GetCapabilitiesRequest())).max_lora_bytes
    assert limit == settings.max_lora_bytes
    for size in (limit + 1, 4 * limit):
        error = await refusal_of(registry.stub.UploadLora(parts(bytes(size), size=2**18)))
        assert (type(error), error.field) == (PayloadTooLarge, "chunk")


async def test_an_endless_upload_is_ended(registry: Registry, settings: GeneratorSettings) -> None:
    sent = 0

    async def endless() -> AsyncIterator[UploadLoraRequest]:
        nonlocal sent
        yield UploadLoraRequest(start=UploadLoraStart(lora_id="anna"))
        while True:
            sent += 2**18
            yield UploadLoraRequest(chunk=bytes(2**18))

    # Which status a client gets that never stops to send is a matter of luck: see core.runtime.calls.
    with pytest.raises(grpc.aio.AioRpcError):
        await registry.stub.UploadLora(endless())
    assert sent > settings.max_lora_bytes
    assert not (await registry.stub.ListLoras(ListLorasRequest())).loras


async def test_a_file_that_cannot_act_is_refused_with_its_keys(registry: Registry) -> None:
    weights = random_lora()
    key = next(iter(weights))
    for data, words in (
        (b"PK\x03\x04 a checkpoint", "pickle"),
        (lora_file()[:-1], "cut off"),
        (save({**weights, "lora_te_x.lora_down.weight": torch.ones(2, 2)}), "lora_te_x"),
        (save(random_lora(layers=3)), "transformer_blocks.2"),
        (lora_file(rank=65), "at most 64"),
        (save({**weights, key: torch.full_like(weights[key], float("nan"))}), key),
    ):
        error = await registry.refusal("anna", data)
        assert (type(error), error.field) == (InvalidRequest, "data")
        assert words in error.message


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
