"""The generator's protocol: messages in, calls to the engine, messages out."""

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
from core.qwen.loading import ModelDescription
from core.qwen.loras.library import MAX_LORAS
from core.qwen.loras.requested import RequestedLora
from core.qwen.request import GenerationRequest
from core.qwen.sampling import GenerationTimings, ImageFinished, PreviewReady
from core.runtime.artifacts import ArtifactStore
from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.images import encode_output, to_image_message
from core.runtime.worker import Result
from likeness.common.v1 import image_pb2
from likeness.generator.v1 import generator_service_pb2 as pb2
from likeness.generator.v1 import generator_service_pb2_grpc
from services.generator.engine import GeneratorEngine

Context = grpc.aio.ServicerContext[Any, Any]


class GeneratorServicer(generator_service_pb2_grpc.GeneratorServiceServicer):
    """``likeness.generator.v1.GeneratorService`` over an engine."""

    def __init__(self, engine: GeneratorEngine, artifacts: ArtifactStore) -> None:
        """Answer with ``engine``'s pictures, kept in ``artifacts`` when a request asks for that."""
        self._engine = engine
        self._artifacts = artifacts

    async def Generate(self, request: pb2.GenerateRequest, context: Context) -> AsyncIterator[pb2.GenerateResponse]:
        """Draw pictures and tell of the progress; the errors are those of the engine."""
        started = time.monotonic()
        admitted = self._admit(request, await self._find_loras(request))
        tenant = current_metadata().tenant_id
        files_seconds = 0.0
        events = self._engine.stream(
            admitted, token=CancelToken.for_call(context), tenant=tenant, priority=messages.PRIORITIES[request.priority]
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, ImageFinished):
                    before = time.monotonic()
                    # In a thread of its own: the device goes on with the next picture, the loop with other calls.
                    image = await asyncio.to_thread(self._write_image, event.pixels, request.output)
                    files_seconds += time.monotonic() - before
                    yield pb2.GenerateResponse(
                        image=pb2.GeneratedImage(index=event.index, seed=event.seed, image=image)
                    )
                elif isinstance(event, PreviewReady):
                    yield pb2.GenerateResponse(preview=await asyncio.to_thread(messages.preview_message, event))
                elif isinstance(event, Result):
                    yield pb2.GenerateResponse(
                        finished=_finished(
                            admitted,
                            self._engine.model.description,
                            event.value,
                            queue_seconds=event.queued_seconds,
                            files_seconds=files_seconds,
                            total_seconds=time.monotonic() - started,
                        )
                    )
                else:
                    yield pb2.GenerateResponse(**messages.progress(event))

    async def GetCapabilities(
        self, request: pb2.GetCapabilitiesRequest, context: Context
    ) -> pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        profile = self._engine.profile
        return pb2.GetCapabilitiesResponse(
            model=messages.model_message(self._engine.model.description),
            modes=[messages.mode_message(mode) for mode in profile.modes],
            sizes=[
                pb2.Size(aspect_ratio=ratio, width=size.width, height=size.height)
                for ratio, size in profile.sizes.by_aspect_ratio.items()
            ],
            size_multiple=profile.sizes.multiple,
            min_pixels=profile.sizes.min_pixels,
            max_pixels=profile.sizes.max_pixels,
            max_count=profile.max_count,
            max_prompt_tokens=profile.max_prompt_tokens,
            queue_capacity=self._engine.worker.capacity,
            max_loras=MAX_LORAS,
            max_lora_rank=self._engine.loras.max_rank,
            max_total_lora_rank=self._engine.loras.stack.rows,
            max_lora_bytes=self._engine.loras.max_file_bytes,
        )

    async def _find_loras(self, request: pb2.GenerateRequest) -> tuple[RequestedLora, ...]:
        if not request.loras:
            return ()
        self._engine.worker.check_room()
        choices, tenant_id = messages.lora_choices(request), current_metadata().tenant_id
        return await asyncio.to_thread(self._engine.loras.find, choices, tenant_id=tenant_id)

    def _admit(self, request: pb2.GenerateRequest, loras: tuple[RequestedLora, ...]) -> GenerationRequest:
        return self._engine.admit(
            prompt=request.prompt,
            seed=messages.optional(request, "seed"),
            trigger_word=request.trigger_word,
            negative_prompt=messages.optional(request, "negative_prompt"),
            mode=request.mode,
            aspect_ratio=request.aspect_ratio,
            width=messages.optional(request, "width"),
            height=messages.optional(request, "height"),
            count=messages.optional(request, "count"),
            steps=messages.optional(request, "steps"),
            true_cfg_scale=messages.optional(request, "true_cfg_scale"),
            loras=loras,
            preview_every=request.preview_every,
        )

    def _write_image(self, pixels: npt.NDArray[np.uint8], output: image_pb2.ImageOutput) -> image_pb2.Image:
        return to_image_message(encode_output(pixels, output), output, self._artifacts)


def _finished(
    request: GenerationRequest,
    model: ModelDescription,
    timings: GenerationTimings,
    *,
    queue_seconds: float,
    files_seconds: float,
    total_seconds: float,
) -> pb2.GenerateFinished:
    return pb2.GenerateFinished(
        seed=request.seed,
        width=request.size.width,
        height=request.size.height,
        mode=request.mode.name,
        steps=request.steps,
        true_cfg_scale=request.true_cfg_scale,
        timings=messages.timings_message(
            timings, queue_seconds=queue_seconds, files_seconds=files_seconds, total_seconds=total_seconds
        ),
        model=messages.model_message(model, request.mode),
        loras=messages.lora_messages(request.loras),
    )
