"""The editor's protocol: messages in, calls to the engine, messages out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc.aio

from core.qwen import messages
from core.qwen.answering import answer, capability_fields, find_loras
from core.qwen.editing.request import EditRequest
from core.runtime.artifacts import ArtifactStore
from core.runtime.decoded_image import DecodedImage, RgbArray
from core.runtime.images import encode_like, read_image_input, read_picture_input, to_image_message
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.editor.v1 import editor_service_pb2 as pb2
from likeness.editor.v1 import editor_service_pb2_grpc
from services.editor.engine import EditDraft, EditorEngine

Context = grpc.aio.ServicerContext[Any, Any]
Writer = Callable[[RgbArray], image_pb2.Image]
"""Writes a result."""


class EditorServicer(editor_service_pb2_grpc.EditorServiceServicer):
    """``likeness.editor.v1.EditorService`` over an engine."""

    def __init__(self, engine: EditorEngine, artifacts: ArtifactStore) -> None:
        """Answer with ``engine``'s pictures; those of requests and answers may be in ``artifacts``."""
        self._engine = engine
        self._artifacts = artifacts

    async def Edit(self, request: pb2.EditRequest, context: Context) -> AsyncIterator[pb2.EditResponse]:
        """Edit pictures and tell of the progress; the errors are those of the engine and the image decoder."""
        started = time.monotonic()
        # Decoding is work: a full queue is told before it, and so is what is wrong with the words.
        self._engine.worker.check_room()
        draft = self._engine.draft(
            instruction=request.instruction,
            scene=request.scene,
            pictures=len(request.images),
            loras=await find_loras(self._engine, request),
            **messages.drawing_choices(request),
        )
        admitted, write = await asyncio.to_thread(self._complete, draft, request)

        def finish(timings: progress_pb2.Timings) -> pb2.EditFinished:
            return self._finished(admitted, timings)

        responses = answer(
            self._engine, admitted, request, context, self._artifacts, started=started, finish=finish, write=write
        )
        async with aclosing(responses):
            async for fields in responses:
                yield pb2.EditResponse(**fields)

    async def GetCapabilities(
        self, request: pb2.GetCapabilitiesRequest, context: Context
    ) -> pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        editing = self._engine.editing
        return pb2.GetCapabilitiesResponse(
            **capability_fields(self._engine),
            max_aspect_ratio=self._engine.profile.sizes.max_aspect_ratio,
            max_images=editing.max_images,
            default_denoise=editing.denoise,
            default_denoise_of_several=editing.denoise_of_several,
        )

    def _complete(self, draft: EditDraft, request: pb2.EditRequest) -> tuple[EditRequest, Writer | None]:
        """Decode the pictures, complete the request, and say how its results are written. Blocking."""
        pictures = [
            read_picture_input(image, self._artifacts, f"images[{number}]")
            for number, image in enumerate(request.images)
        ]
        mask = read_image_input(request.mask, self._artifacts, "mask") if request.HasField("mask") else None
        edit = self._engine.complete(
            draft,
            images=[picture.rgb for picture in pictures],
            denoise=messages.optional(request, "denoise"),
            mask=mask,
        )
        if edit.mask is None:
            return edit, None
        # What lies outside a mask stays as the file has it: in its own colour space, as transparent as it is.
        return edit, partial(self._write_like, edit.mask.opened(pictures[0]), request.output)

    def _write_like(self, source: DecodedImage, output: image_pb2.ImageOutput, pixels: RgbArray) -> image_pb2.Image:
        encoded, _ = encode_like(source, pixels, output)
        return to_image_message(encoded, output, self._artifacts)

    def _finished(self, request: EditRequest, timings: progress_pb2.Timings) -> pb2.EditFinished:
        return pb2.EditFinished(
            **messages.finished_fields(request, self._engine.model.description, timings),
            width=request.output.width,
            height=request.output.height,
            denoise=request.begins_at,
            instruction=request.prompt,
        )
