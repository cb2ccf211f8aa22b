"""The editor's protocol: messages in, calls to the engine, messages out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio
import numpy as np
import numpy.typing as npt

from core.qwen import messages
from core.qwen.editing.request import EditRequest
from core.qwen.loading import ModelDescription
from core.qwen.loras.library import MAX_LORAS
from core.qwen.loras.requested import RequestedLora
from core.qwen.sampling import GenerationTimings, ImageFinished, PreviewReady
from core.runtime.artifacts import ArtifactStore
from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.images import encode_output, read_image_input, to_image_message
from core.runtime.worker import Result
from likeness.common.v1 import image_pb2
from likeness.editor.v1 import editor_service_pb2 as pb2
from likeness.editor.v1 import editor_service_pb2_grpc
from likeness.generator.v1 import generator_service_pb2 as generator
from services.editor.engine import EditDraft, EditorEngine

Context = grpc.aio.ServicerContext[Any, Any]


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
        draft = self._draft(request, await self._find_loras(request))
        admitted = await asyncio.to_thread(self._complete, draft, request)
        files_seconds = 0.0
        events = self._engine.stream(
            admitted,
            token=CancelToken.for_call(context),
            tenant=current_metadata().tenant_id,
            priority=messages.PRIORITIES[request.priority],
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, ImageFinished):
                    before = time.monotonic()
                    # In a thread of its own: the device goes on with the next picture, the loop with other calls.
                    image = await asyncio.to_thread(self._write_image, event.pixels, request.output)
                    files_seconds += time.monotonic() - before
                    yield pb2.EditResponse(
                        image=generator.GeneratedImage(index=event.index, seed=event.seed, image=image)
                    )
                elif isinstance(event, PreviewReady):
                    yield pb2.EditResponse(preview=await asyncio.to_thread(messages.preview_message, event))
                elif isinstance(event, Result):
                    finished = _finished(admitted, self._engine.model.description)
                    timings: GenerationTimings = event.value
                    finished.timings.CopyFrom(
                        messages.timings_message(
                            timings,
                            queue_seconds=event.queued_seconds,
                            files_seconds=files_seconds,
                            total_seconds=time.monotonic() - started,
                        )
                    )
                    yield pb2.EditResponse(finished=finished)
                else:
                    yield pb2.EditResponse(**messages.progress(event))

    async def GetCapabilities(
        self, request: pb2.GetCapabilitiesRequest, context: Context
    ) -> pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        profile, editing = self._engine.profile, self._engine.editing
        return pb2.GetCapabilitiesResponse(
            model=messages.model_message(self._engine.model.description),
            modes=[messages.mode_message(mode) for mode in profile.modes],
            size_multiple=profile.sizes.multiple,
            min_pixels=profile.sizes.min_pixels,
            max_pixels=profile.sizes.max_pixels,
            max_aspect_ratio=profile.sizes.max_aspect_ratio,
            max_count=profile.max_count,
            max_images=editing.max_images,
            max_prompt_tokens=profile.max_prompt_tokens,
            queue_capacity=self._engine.worker.capacity,
            max_loras=MAX_LORAS,
            default_denoise=editing.denoise,
            default_denoise_of_several=editing.denoise_of_several,
        )

    async def _find_loras(self, request: pb2.EditRequest) -> tuple[RequestedLora, ...]:
        if not request.loras:
            return ()
        choices, tenant_id = messages.lora_choices(request), current_metadata().tenant_id
        return await asyncio.to_thread(self._engine.loras.find, choices, tenant_id=tenant_id)

    def _draft(self, request: pb2.EditRequest, loras: tuple[RequestedLora, ...]) -> EditDraft:
        return self._engine.draft(
            instruction=request.instruction,
            scene=request.scene,
            pictures=len(request.images),
            seed=messages.optional(request, "seed"),
            trigger_word=request.trigger_word,
            negative_prompt=messages.optional(request, "negative_prompt"),
            mode=request.mode,
            width=messages.optional(request, "width"),
            height=messages.optional(request, "height"),
            count=messages.optional(request, "count"),
            steps=messages.optional(request, "steps"),
            true_cfg_scale=messages.optional(request, "true_cfg_scale"),
            loras=loras,
            preview_every=request.preview_every,
        )

    def _complete(self, draft: EditDraft, request: pb2.EditRequest) -> EditRequest:
        """Decode the pictures and complete the request. Blocking."""
        images = [
            read_image_input(image, self._artifacts, f"images[{number}]") for number, image in enumerate(request.images)
        ]
        mask = read_image_input(request.mask, self._artifacts, "mask") if request.HasField("mask") else None
        return self._engine.complete(draft, images=images, denoise=messages.optional(request, "denoise"), mask=mask)

    def _write_image(self, pixels: npt.NDArray[np.uint8], output: image_pb2.ImageOutput) -> image_pb2.Image:
        return to_image_message(encode_output(pixels, output), output, self._artifacts)


def _finished(request: EditRequest, model: ModelDescription) -> pb2.EditFinished:
    return pb2.EditFinished(
        seed=request.seed,
        width=request.output.width,
        height=request.output.height,
        mode=request.mode.name,
        steps=request.taken_steps,
        true_cfg_scale=request.true_cfg_scale,
        model=messages.model_message(model, request.mode),
        loras=messages.lora_messages(request.loras),
        denoise=request.begins_at,
        instruction=request.prompt,
    )
