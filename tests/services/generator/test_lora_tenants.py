"""A LoRA is its tenant's alone, unless the default tenant registered it; the tenant travels in the call's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likeness.errors import InvalidRequest, LikenessError, LoraNotFound
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, LoraSelection
from likeness.generator.v1.generator_service_pb2_grpc import GeneratorServiceStub
from likeness.generator.v1.lora_service_pb2_grpc import LoraServiceStub
from tests.support.generator import RunningGenerator, refusal_of
from tests.support.registry import lora_file, picture, request, use


class Tenant:
    """A client that names its tenant with each call."""

    def __init__(self, generator: RunningGenerator, name: str) -> None:
        self._metadata = (("x-tenant-id", name),) if name else ()
        self._loras: Any = LoraServiceStub(generator.channel)
        self._generator: Any = GeneratorServiceStub(generator.channel)

    async def register(self, lora_id: str, *, seed: int = 11, upload: bool = False) -> pb2.Lora:
        data = lora_file(seed)
        if upload:

            async def parts() -> Any:
                yield pb2.UploadLoraRequest(start=pb2.UploadLoraStart(lora_id=lora_id))
                yield pb2.UploadLoraRequest(chunk=data)

            answer = await self._loras.UploadLora(parts(), metadata=self._metadata)
        else:
            message = pb2.RegisterLoraRequest(lora_id=lora_id, data=data)
            answer = await self._loras.RegisterLora(message, metadata=self._metadata)
        lora: pb2.Lora = answer.lora
        return lora

    async def names(self) -> list[str]:
        answer = await self._loras.ListLoras(pb2.ListLorasRequest(), metadata=self._metadata)
        return [lora.lora_id for lora in answer.loras]

    async def shared(self, lora_id: str) -> bool:
        answer = await self._loras.GetLora(pb2.GetLoraRequest(lora_id=lora_id), metadata=self._metadata)
        return bool(answer.lora.shared)

    async def delete(self, lora_id: str, **fields: Any) -> Sequence[int]:
        message = pb2.DeleteLoraRequest(lora_id=lora_id, **fields)
        versions: Sequence[int] = (await self._loras.DeleteLora(message, metadata=self._metadata)).versions
        return versions

    async def draw(self, *loras: LoraSelection) -> str:
        return picture([event async for event in self._generator.Generate(request(*loras), metadata=self._metadata)])

    async def delete_refusal(self, lora_id: str) -> LikenessError:
        return await refusal_of(self.delete(lora_id))

    async def refusals(self, lora_id: str) -> list[LikenessError]:
        message: GenerateRequest = request(use(lora_id))
        drawing = self._generator.Generate(message, metadata=self._metadata)
        return [
            await refusal_of(drawing.read()),
            await refusal_of(self._loras.GetLora(pb2.GetLoraRequest(lora_id=lora_id), metadata=self._metadata)),
            await self.delete_refusal(lora_id),
        ]


async def test_a_lora_is_not_listed_used_or_deleted_by_another_tenant(generator: RunningGenerator) -> None:
    one, other, nobody = (Tenant(generator, name) for name in ("one", "other", ""))
    assert not (await one.register("anna", upload=True)).shared
    plain = await one.draw()
    drawn = await one.draw(use("anna"))
    assert drawn != plain
    for stranger in (other, nobody):
        assert await stranger.names() == []
        errors = await stranger.refusals("anna")
        assert [type(error) for error in errors] == [LoraNotFound] * 3
        assert await stranger.delete("anna", forget=True) == []
    theirs = await other.register("anna", seed=12)
    assert theirs.version == 1
    assert await other.draw(use("anna")) not in (drawn, plain)
    assert await one.draw(use("anna")) == drawn
    assert await other.delete("anna") == [1]
    assert await one.names() == ["anna"]


async def test_a_lora_of_no_tenant_is_everybodys_to_use(generator: RunningGenerator) -> None:
    nobody, one = Tenant(generator, ""), Tenant(generator, "one")
    assert (await nobody.register("style")).shared
    assert await one.names() == ["style"]
    assert await one.shared("style")
    assert await one.draw(use("style")) == await nobody.draw(use("style"))
    assert isinstance(await one.delete_refusal("style"), LoraNotFound)
    assert await nobody.names() == ["style"]


async def test_forgetting_takes_all_versions_and_begins_their_numbers_anew(generator: RunningGenerator) -> None:
    one = Tenant(generator, "one")
    for seed in (11, 12):
        await one.register("anna", seed=seed)
    await one.draw(use("anna"))
    assert isinstance(await refusal_of(one.delete("anna", version=1, forget=True)), InvalidRequest)
    assert await one.delete("anna", forget=True) == [1, 2]
    assert await one.delete("anna", forget=True) == []
    assert isinstance((await one.refusals("anna"))[0], LoraNotFound)
    assert (await one.register("anna")).version == 1
