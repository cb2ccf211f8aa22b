"""Drawing and LoRAs while the object store is away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from safetensors.torch import save

from likeness.common.v1.image_pb2 import ImageOutput
from likeness.errors import ServiceUnavailable
from likeness.generator.v1.generator_service_pb2 import GenerateRequest, LoraSelection
from likeness.generator.v1.lora_service_pb2 import ListLorasRequest, RegisterLoraRequest
from likeness.generator.v1.lora_service_pb2_grpc import LoraServiceStub
from services.generator.settings import GeneratorSettings
from tests.support.checkpoint import random_lora
from tests.support.generator import RunningGenerator, refusal_of
from tests.support.object_store import URL, Bucket, running_bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with running_bucket(monkeypatch) as running:
        yield running


@pytest.fixture
def settings(settings: GeneratorSettings, bucket: Bucket) -> GeneratorSettings:
    return settings.model_copy(update={"artifacts_url": URL})


async def test_a_store_that_is_away_is_unavailable_for_pictures_and_loras(
    generator: RunningGenerator, bucket: Bucket
) -> None:
    loras = LoraServiceStub(generator.channel)
    await loras.RegisterLora(RegisterLoraRequest(lora_id="anna", data=save(random_lora(rank=4, seed=11))))
    bucket.status = 500
    drawing = GenerateRequest(prompt="a man", width=160, height=160, steps=1, true_cfg_scale=1)
    stored, with_lora = GenerateRequest(), GenerateRequest()
    stored.CopyFrom(drawing)
    stored.output.CopyFrom(ImageOutput(store=True))
    with_lora.CopyFrom(drawing)
    with_lora.loras.append(LoraSelection(lora_id="anna"))
    uri = f"artifact://training/{'0' * 64}.safetensors"
    for call in (
        generator.stub.Generate(stored),
        generator.stub.Generate(with_lora),
        loras.ListLoras(ListLorasRequest()),
        loras.RegisterLora(RegisterLoraRequest(lora_id="ben", data=save(random_lora(rank=4, seed=12)))),
        loras.RegisterLora(RegisterLoraRequest(lora_id="ben", artifact_uri=uri)),
    ):
        error = await refusal_of(call)
        assert isinstance(error, ServiceUnavailable)
        assert error.retry_after_seconds
    bucket.status = None
    assert [lora.lora_id for lora in (await loras.ListLoras(ListLorasRequest())).loras] == ["anna"]
    assert (await generator.generate(stored))[-1].HasField("finished")
