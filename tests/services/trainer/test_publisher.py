"""A LoRA is published once, whatever fails and is repeated on the way; over a real gRPC registry."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from core.runtime.cancellation import CancelToken
from likeness.channel import ChannelOptions
from likeness.errors import Cancelled, InvalidRequest, ServiceUnavailable
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.loras import Lora
from likeness.metadata import DEFAULT_TENANT
from likeness.sync import Client
from services.trainer.publisher import LoraPublisher
from tests.support.services import FakeGenerator, running_generator

DATA = b"a lora"
SHA256 = hashlib.sha256(DATA).hexdigest()


async def publish(
    address: str,
    folder: Path,
    *,
    patience: float = 60.0,
    pauses: list[Any] | None = None,
    tenant_id: str = DEFAULT_TENANT,
    **changes: Any,
) -> Lora:
    """Publish a file in a thread, as a run does; each pause calls the next of ``pauses``."""
    file = folder / "lora.safetensors"
    file.write_bytes(DATA)
    left = list(pauses or [])
    values: dict[str, Any] = {"earlier_sha256": None, "token": CancelToken(), **changes}

    def work() -> Lora:
        with Client(address, channel_options=ChannelOptions(attempts=1)) as client:
            publisher = LoraPublisher(
                client, patience_seconds=patience, tenant_id=tenant_id, pause=lambda _: left.pop(0)()
            )
            return publisher.publish("anna", file, trigger_word="ohwx", sha256=SHA256, **values)

    return await asyncio.to_thread(work)


async def test_the_first_time_the_file_is_handed_in(tmp_path: Path) -> None:
    generator = FakeGenerator()
    async with running_generator(generator) as address:
        lora = await publish(address, tmp_path)
    assert (lora.version, lora.sha256, lora.trigger_word) == (1, SHA256, "ohwx")


async def test_a_file_that_an_earlier_attempt_has_published_is_found(tmp_path: Path) -> None:
    generator = FakeGenerator()
    async with running_generator(generator) as address:
        await publish(address, tmp_path)
        generator.loras._keep("anna", "", b"another job's")
        lora = await publish(address, tmp_path, earlier_sha256=SHA256)
        assert (lora.version, len(generator.loras.files)) == (1, 2)
        other = await publish(address, tmp_path, earlier_sha256=hashlib.sha256(b"another job's").hexdigest())
        assert other.version == 2
        assert len(generator.loras.files) == 2


async def test_an_equal_file_that_all_tenants_share_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    generator = FakeGenerator()
    async with running_generator(generator) as address:
        await publish(address, tmp_path)
        lora = await publish(address, tmp_path, earlier_sha256=SHA256, tenant_id="acme")
        assert not lora.shared
        assert list(generator.loras.tenants["acme"]) == ["anna"]
        again = await publish(address, tmp_path, earlier_sha256=SHA256, tenant_id="acme")
        assert (again.version, len(generator.loras.files)) == (1, 2)


async def test_an_earlier_attempt_that_published_nothing_is_made_up_for(tmp_path: Path) -> None:
    generator = FakeGenerator()
    async with running_generator(generator) as address:
        assert (await publish(address, tmp_path, earlier_sha256=SHA256)).version == 1


async def test_a_call_that_failed_after_its_work_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = FakeGenerator()
    upload = generator.loras.UploadLora

    async def upload_and_break(requests: Any, context: Any) -> pb2.UploadLoraResponse:
        await upload(requests, context)
        raise ServiceUnavailable("the connection broke")

    monkeypatch.setattr(generator.loras, "UploadLora", upload_and_break)
    async with running_generator(generator) as address:
        lora = await publish(address, tmp_path, pauses=[lambda: None])
    assert (lora.version, len(generator.loras.files)) == (1, 1)


async def test_a_generator_that_is_away_is_waited_for(tmp_path: Path) -> None:
    generator = FakeGenerator()
    generator.loras.error = ServiceUnavailable("it restarts")

    def back() -> None:
        generator.loras.error = None

    async with running_generator(generator) as address:
        lora = await publish(address, tmp_path, pauses=[lambda: None, back])
        assert (lora.version, len(generator.loras.files)) == (1, 1)
        generator.loras.error = ServiceUnavailable("it is gone")
        with pytest.raises(ServiceUnavailable):
            await publish(address, tmp_path, patience=-1.0)


async def test_a_file_that_the_generator_refuses_is_not_tried_again(tmp_path: Path) -> None:
    generator = FakeGenerator()
    generator.loras.error = InvalidRequest("unknown keys", field="chunk")
    async with running_generator(generator) as address:
        with pytest.raises(InvalidRequest):
            await publish(address, tmp_path)


async def test_a_cancel_ends_the_waiting(tmp_path: Path) -> None:
    generator = FakeGenerator()
    generator.loras.error = ServiceUnavailable("it restarts")
    token = CancelToken()
    async with running_generator(generator) as address:
        with pytest.raises(Cancelled):
            await publish(address, tmp_path, token=token, pauses=[token.cancel])
