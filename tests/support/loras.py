"""A LoRA registry in memory, of the contract's own signatures: a real gRPC service that reads no files."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from core.runtime.calls import current_metadata
from likeness.errors import LikenessError, LoraNotFound
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.generator.v1 import lora_service_pb2_grpc
from likeness.metadata import DEFAULT_TENANT


class FakeLoras(lora_service_pb2_grpc.LoraServiceServicer):
    """Keeps whatever it gets."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.loras: dict[str, list[pb2.Lora]] = {}
        self.files: list[bytes] = []
        self.uris: list[str] = []
        self.chunks = 0
        self.error: LikenessError | None = None
        self.tenants: dict[str, dict[str, list[pb2.Lora]]] = {DEFAULT_TENANT: self.loras}
        self.request_ids: list[str] = []

    async def RegisterLora(self, request: pb2.RegisterLoraRequest, context: Any) -> pb2.RegisterLoraResponse:
        """Keep a file or a URI."""
        self.uris.append(request.artifact_uri)
        return pb2.RegisterLoraResponse(lora=self._keep(request.lora_id, request.trigger_word, request.data))

    async def UploadLora(self, requests: AsyncIterator[pb2.UploadLoraRequest], context: Any) -> pb2.UploadLoraResponse:
        """Keep a file that comes in parts."""
        start, data = pb2.UploadLoraStart(), b""
        async for request in requests:
            if request.HasField("start"):
                start = request.start
            else:
                data += request.chunk
                self.chunks += 1
        assert start.sha256 == hashlib.sha256(data).hexdigest()
        return pb2.UploadLoraResponse(lora=self._keep(start.lora_id, start.trigger_word, data))

    async def ListLoras(self, request: pb2.ListLorasRequest, context: Any) -> pb2.ListLorasResponse:
        """List, two a page."""
        loras = self._visible()
        ids = [lora_id for lora_id in sorted(loras) if lora_id > request.page_token]
        page = ids[: request.page_size or 2]
        token = page[-1] if len(ids) > len(page) else ""
        return pb2.ListLorasResponse(loras=[loras[lora_id][-1] for lora_id in page], next_page_token=token)

    async def GetLora(self, request: pb2.GetLoraRequest, context: Any) -> pb2.GetLoraResponse:
        """Describe one."""
        return pb2.GetLoraResponse(lora=self._find(self._visible(), request.lora_id, request.version)[-1])

    async def DeleteLora(self, request: pb2.DeleteLoraRequest, context: Any) -> pb2.DeleteLoraResponse:
        """Remove."""
        loras = self._of_tenant()
        if self.error is not None:
            raise self.error
        if request.forget and request.lora_id not in loras:
            return pb2.DeleteLoraResponse()
        removed = self._find(loras, request.lora_id, request.version)
        loras[request.lora_id] = [lora for lora in loras[request.lora_id] if lora not in removed]
        if not loras[request.lora_id]:
            del loras[request.lora_id]
        return pb2.DeleteLoraResponse(versions=[lora.version for lora in removed])

    def _keep(self, lora_id: str, trigger_word: str, data: bytes) -> pb2.Lora:
        self.request_ids.append(current_metadata().request_id)
        if self.error is not None:
            raise self.error
        self.files.append(data)
        versions = self._of_tenant().setdefault(lora_id, [])
        lora = pb2.Lora(
            lora_id=lora_id,
            version=len(versions) + 1,
            trigger_word=trigger_word,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            rank=16,
            modules=240,
            format="kohya",
            base_model="likeness/fake",
            shared=current_metadata().tenant_id == DEFAULT_TENANT,
        )
        lora.create_time.FromSeconds(1_800_000_000)
        versions.append(lora)
        return lora

    def _of_tenant(self) -> dict[str, list[pb2.Lora]]:
        return self.tenants.setdefault(current_metadata().tenant_id, {})

    def _visible(self) -> dict[str, list[pb2.Lora]]:
        return {**self.loras, **self._of_tenant()}

    @staticmethod
    def _find(loras: dict[str, list[pb2.Lora]], lora_id: str, version: int) -> list[pb2.Lora]:
        found = [lora for lora in loras.get(lora_id, []) if version in (0, lora.version)]
        if not found:
            raise LoraNotFound(f"no LoRA {lora_id!r}", field="lora_id")
        return found
