"""The calls of the LoRA registry: arguments in, typed results out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import grpc.aio

from likeness._messages import filled
from likeness.calls import CallOptions, UnaryCall, UploadCall
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.generator.v1 import lora_service_pb2_grpc
from likeness.loras import Lora, LoraPage

LoraSource = bytes | str | os.PathLike[str]
"""A LoRA to hand in: the bytes of a safetensors file, its path, or an ``artifact://`` URI as a string."""

CHUNK_BYTES = 2**20


class LoraCalls:
    """``likeness.generator.v1.LoraService`` over a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call over ``channel``."""
        stub: Any = lora_service_pb2_grpc.LoraServiceStub(channel)
        service = "generator"
        self._register: UnaryCall[pb2.RegisterLoraRequest, pb2.RegisterLoraResponse] = UnaryCall(
            stub.RegisterLora, service
        )
        self._upload: UploadCall[pb2.UploadLoraRequest, pb2.UploadLoraResponse] = UploadCall(stub.UploadLora, service)
        self._list: UnaryCall[pb2.ListLorasRequest, pb2.ListLorasResponse] = UnaryCall(stub.ListLoras, service)
        self._get: UnaryCall[pb2.GetLoraRequest, pb2.GetLoraResponse] = UnaryCall(stub.GetLora, service)
        self._delete: UnaryCall[pb2.DeleteLoraRequest, pb2.DeleteLoraResponse] = UnaryCall(stub.DeleteLora, service)

    async def register(self, lora_id: str, source: LoraSource, trigger_word: str, options: CallOptions) -> Lora:
        """Keep a file as the next version. Raises LikenessError, and OSError when a path can't be read."""
        if isinstance(source, str) and source.startswith("artifact://"):
            message = filled(pb2.RegisterLoraRequest, lora_id=lora_id, artifact_uri=source, trigger_word=trigger_word)
            return _lora((await self._register(message, options)).lora)
        start = filled(pb2.UploadLoraStart, lora_id=lora_id, trigger_word=trigger_word, sha256=_sha256(source))
        return _lora((await self._upload(_parts(start, source), options)).lora)

    async def list(self, page_size: int, page_token: str, options: CallOptions) -> LoraPage:
        """Return a page. Raises LikenessError."""
        message = filled(pb2.ListLorasRequest, page_size=page_size, page_token=page_token)
        answer = await self._list(message, options)
        return LoraPage(tuple(map(_lora, answer.loras)), answer.next_page_token)

    async def get(self, lora_id: str, version: int, options: CallOptions) -> Lora:
        """Describe a version. Raises LikenessError."""
        message = filled(pb2.GetLoraRequest, lora_id=lora_id, version=version)
        return _lora((await self._get(message, options)).lora)

    async def delete(
        self, lora_id: str, version: int, options: CallOptions, *, forget: bool = False
    ) -> tuple[int, ...]:
        """Remove a version, or all, or every trace. Raises LikenessError."""
        message = filled(pb2.DeleteLoraRequest, lora_id=lora_id, version=version, forget=forget)
        return tuple((await self._delete(message, options)).versions)


def _chunks(source: LoraSource) -> Iterator[bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        for begin in range(0, len(source), CHUNK_BYTES):
            yield bytes(source[begin : begin + CHUNK_BYTES])
        return
    with Path(source).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _sha256(source: LoraSource) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(source):
        digest.update(chunk)
    return digest.hexdigest()


async def _parts(start: pb2.UploadLoraStart, source: LoraSource) -> AsyncIterator[pb2.UploadLoraRequest]:
    yield pb2.UploadLoraRequest(start=start)
    for chunk in _chunks(source):
        yield pb2.UploadLoraRequest(chunk=chunk)


def _lora(message: pb2.Lora) -> Lora:
    return Lora(
        lora_id=message.lora_id,
        version=message.version,
        trigger_word=message.trigger_word,
        format=message.format,
        rank=message.rank,
        modules=message.modules,
        base_model=message.base_model,
        size_bytes=message.size_bytes,
        sha256=message.sha256,
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        shared=message.shared,
    )
