"""A running editor, as tests talk to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc.aio

from core.qwen.loading import QwenImageModel
from core.qwen.loras.library import LoraLibrary
from core.runtime.worker import DeviceWorker
from likeness.common.v1 import image_pb2
from likeness.editor.v1.editor_service_pb2 import EditFinished, EditRequest, EditResponse
from likeness.editor.v1.editor_service_pb2_grpc import EditorServiceStub
from likeness.errors import LikenessError
from tests.support.edits import encoded, scenery
from tests.support.generator import refusal_of


def picture(width: int = 96, height: int = 80, seed: int = 0) -> image_pb2.ImageInput:
    """Return a picture as a request hands it in."""
    return image_pb2.ImageInput(data=encoded(scenery(width, height, seed)))


@dataclass(frozen=True, repr=False)
class RunningEditor:
    """The service behind a channel, with the parts that tests look into."""

    channel: grpc.aio.Channel
    worker: DeviceWorker
    model: QwenImageModel
    loras: LoraLibrary

    @property
    def stub(self) -> Any:
        """The generated client."""
        return EditorServiceStub(self.channel)

    async def edit(self, request: EditRequest, **call: Any) -> list[EditResponse]:
        """Return every event of a call that ends well."""
        return [event async for event in self.stub.Edit(request, **call)]

    async def picture_of(self, request: EditRequest) -> tuple[bytes, EditFinished]:
        """Return the file of a call's only result, and how it was made."""
        events = await self.edit(request)
        return next(event.image.image.data for event in events if event.HasField("image")), events[-1].finished

    async def refusal(self, request: EditRequest, **call: Any) -> LikenessError:
        """Return the error of a call that must fail."""
        return await refusal_of(self.stub.Edit(request, **call))
