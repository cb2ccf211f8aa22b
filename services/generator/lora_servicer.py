"""The LoRA registry's protocol: messages in, calls to the library, messages out."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio

from core.qwen.loras.library import LoraLibrary
from core.qwen.loras.registry import LoraRecord
from core.runtime.calls import current_metadata
from likeness.errors import InvalidRequest
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.generator.v1 import lora_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

DEFAULT_PAGE_SIZE = 100
# An upload waits in a file until its turn comes; up to here in memory.
_SPOOLED_BYTES = 8 * 2**20


class LoraServicer(lora_service_pb2_grpc.LoraServiceServicer):
    """``likeness.generator.v1.LoraService`` over a library."""

    def __init__(self, library: LoraLibrary) -> None:
        """Answer from ``library``."""
        self._library = library
        # Files are large: one at a time is in memory.
        self._checking = asyncio.Semaphore(1)

    async def RegisterLora(self, request: pb2.RegisterLoraRequest, context: Context) -> pb2.RegisterLoraResponse:
        """Check a file and keep it; the errors are those of `LoraLibrary.register`."""
        tenant_id = current_metadata().tenant_id
        if request.WhichOneof("source") == "artifact_uri":
            record = await self._register(
                lambda: self._library.register_artifact(
                    request.lora_id, request.artifact_uri, trigger_word=request.trigger_word, tenant_id=tenant_id
                )
            )
        else:
            record = await self._register(
                lambda: self._library.register(
                    request.lora_id, request.data, trigger_word=request.trigger_word, tenant_id=tenant_id
                )
            )
        return pb2.RegisterLoraResponse(lora=_lora(record))

    async def UploadLora(
        self, requests: AsyncIterator[pb2.UploadLoraRequest], context: Context
    ) -> pb2.UploadLoraResponse:
        """Take a file in parts, check it and keep it.

        Raises InvalidRequest when the first part is not the start, when another one is, or when the SHA-256 differs;
        PayloadTooLarge as soon as the parts are too many; else as `LoraLibrary.register`.
        """
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidRequest("the first part must be start: it names the LoRA", field="start")
        start, tenant_id = first.start, current_metadata().tenant_id
        digest, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as file:
            async for request in requests:
                if request.WhichOneof("part") != "chunk":
                    raise InvalidRequest("only the first part may be start", field="start")
                size += len(request.chunk)
                self._library.check_size(size, field="chunk")
                digest.update(request.chunk)
                await asyncio.to_thread(file.write, request.chunk)
            if start.sha256 and digest.hexdigest() != start.sha256:
                raise InvalidRequest(
                    f"start.sha256: {size:,} bytes with another SHA-256 arrived: send the file again",
                    field="start.sha256",
                )

            def register() -> LoraRecord:
                file.seek(0)
                return self._library.register(
                    start.lora_id,
                    file.read(),
                    trigger_word=start.trigger_word,
                    tenant_id=tenant_id,
                    field="chunk",
                )

            return pb2.UploadLoraResponse(lora=_lora(await self._register(register)))

    async def ListLoras(self, request: pb2.ListLorasRequest, context: Context) -> pb2.ListLorasResponse:
        """List a page of the newest versions: the tenant's own and the shared ones."""
        records, token = await asyncio.to_thread(
            self._library.list,
            page_size=request.page_size or DEFAULT_PAGE_SIZE,
            after=request.page_token,
            tenant_id=current_metadata().tenant_id,
        )
        return pb2.ListLorasResponse(loras=map(_lora, records), next_page_token=token)

    async def GetLora(self, request: pb2.GetLoraRequest, context: Context) -> pb2.GetLoraResponse:
        """Describe a version. Raises LoraNotFound."""
        record = await asyncio.to_thread(
            self._library.get, request.lora_id, request.version, tenant_id=current_metadata().tenant_id
        )
        return pb2.GetLoraResponse(lora=_lora(record))

    async def DeleteLora(self, request: pb2.DeleteLoraRequest, context: Context) -> pb2.DeleteLoraResponse:
        """Remove a version of the tenant's own, or all, or every trace. Raises LoraNotFound."""
        versions = await asyncio.to_thread(
            self._library.delete,
            request.lora_id,
            request.version,
            forget=request.forget,
            tenant_id=current_metadata().tenant_id,
        )
        return pb2.DeleteLoraResponse(versions=versions)

    async def _register(self, register: Callable[[], T]) -> T:
        async with self._checking:
            return await asyncio.to_thread(register)


def _lora(record: LoraRecord) -> pb2.Lora:
    message = pb2.Lora(
        lora_id=record.lora_id,
        version=record.version,
        trigger_word=record.trigger_word,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        rank=record.rank,
        format=record.format,
        base_model=record.base_model,
        modules=record.modules,
        shared=record.shared,
    )
    message.create_time.FromJsonString(record.create_time.replace("+00:00", "Z"))
    return message
