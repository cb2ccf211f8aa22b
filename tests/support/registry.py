"""A running generator's registry of LoRAs, and drawings that use it."""

from __future__ import annotations

from typing import Any

from safetensors.torch import save

from likeness.errors import LikenessError
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, GenerateResponse, LoraSelection
from likeness.generator.v1.lora_service_pb2 import Lora, RegisterLoraRequest
from likeness.generator.v1.lora_service_pb2_grpc import LoraServiceStub
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
