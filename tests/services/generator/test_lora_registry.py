from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import torch
from safetensors.torch import save

from core.runtime.artifacts import ArtifactStore
from likeness.errors import InvalidRequest, LoraNotFound, PayloadTooLarge
from likeness.generator.v1.generator_service_pb2 import GetCapabilitiesRequest
from likeness.generator.v1.lora_service_pb2 import (
    DeleteLoraRequest,
    GetLoraRequest,
    ListLorasRequest,
    RegisterLoraRequest,
    UploadLoraRequest,
    UploadLoraStart,
)
from services.generator.settings import GeneratorSettings
from tests.support.checkpoint import random_lora
from tests.support.generator import RunningGenerator, refusal_of
from tests.support.registry import Registry, lora_file, request, use


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
