from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from likeness import CallMetadata, CallOptions, Client
from likeness._lora_calls import CHUNK_BYTES
from likeness.errors import InvalidRequest, LoraNotFound
from tests.likeness.conftest import Deployment


async def test_a_file_is_sent_in_parts_whatever_its_size(deployment: Deployment, tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 128) + b"the rest"
    (tmp_path / "anna.safetensors").write_bytes(data)
    for source in (data, tmp_path / "anna.safetensors", str(tmp_path / "anna.safetensors")):
        lora = await deployment.client.register_lora("anna", source, trigger_word="ohwx")
        assert (lora.sha256, lora.trigger_word) == (hashlib.sha256(data).hexdigest(), "ohwx")
    assert deployment.generator.loras.files == [data] * 3
    assert deployment.generator.loras.chunks == 9
    assert (lora.version, lora.rank, lora.modules, lora.format) == (3, 16, 240, "kohya")
    assert lora.create_time == datetime(2027, 1, 15, 8, tzinfo=UTC)


async def test_a_stored_file_is_named_by_its_uri(deployment: Deployment) -> None:
    uri = f"artifact://training/{'a' * 64}.safetensors"
    await deployment.client.register_lora("anna", uri)
    assert deployment.generator.loras.uris == [uri]


async def test_loras_are_listed_shown_and_removed(deployment: Deployment) -> None:
    client = deployment.client
    for name in ("carl", "anna", "bob"):
        await client.register_lora(name, b"1")
    first = await client.list_loras(page_size=2)
    second = await client.list_loras(page_size=2, page_token=first.next_page_token)
    assert [lora.lora_id for lora in (*first.loras, *second.loras)] == ["anna", "bob", "carl"]
    assert second.next_page_token == ""
    assert (await client.get_lora("bob", 1)).lora_id == "bob"
    assert await client.delete_lora("bob") == (1,)
    with pytest.raises(LoraNotFound) as told:
        await client.get_lora("bob")
    assert told.value.field == "lora_id"


async def test_the_calls_metadata_goes_along(deployment: Deployment) -> None:
    options = CallOptions(metadata=CallMetadata(request_id="mine-1"))
    await deployment.client.register_lora("anna", b"1", options=options)
    assert deployment.generator.loras.request_ids == ["mine-1"]


async def test_what_fits_no_message_is_refused(deployment: Deployment) -> None:
    with pytest.raises(InvalidRequest, match="version"):
        await deployment.client.get_lora("anna", 2**40)
    with pytest.raises(FileNotFoundError):
        await deployment.client.register_lora("anna", "/no/such/file.safetensors")


async def test_the_blocking_client_does_the_same(deployment: Deployment) -> None:
    def use() -> tuple[int, ...]:
        with Client(deployment.generator_address, deployment.faceswap_address) as client:
            assert client.register_lora("anna", b"1").version == 1
            assert client.get_lora("anna") == client.list_loras().loras[0]
            return client.delete_lora("anna", 1)

    assert await asyncio.to_thread(use) == (1,)
