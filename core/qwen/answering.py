"""How a servicer answers with pictures: what a generator and an editor do alike between a request and its responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from core.qwen import messages
from core.qwen.engine import DrawingEngine
from core.qwen.loras.library import MAX_LORAS
from core.qwen.loras.requested import RequestedLora
from core.qwen.request import GenerationRequest
from core.qwen.sampling import GenerationTimings, ImageFinished, PreviewReady
from core.runtime.artifacts import ArtifactStore
from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.images import RgbArray, write_image_output
from core.runtime.worker import Result
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.generator.v1 import generator_service_pb2 as pb2

Context = grpc.aio.ServicerContext[Any, Any]


async def find_loras(engine: DrawingEngine, message: messages.DrawingMessage) -> tuple[RequestedLora, ...]:
    """Find the LoRAs that ``message`` names, of the call's tenant and shared ones.

    Raises:
        QueueFull: there are LoRAs to look for and no room for the work.
        InvalidRequest, LoraNotFound: as `LoraLibrary.find`.
    """
    choices = messages.lora_choices(message)
    if not choices:
        return ()
    engine.worker.check_room()
    return await asyncio.to_thread(engine.loras.find, choices, tenant_id=current_metadata().tenant_id)


async def answer(
    engine: DrawingEngine,
    request: GenerationRequest,
    message: messages.DrawingMessage,
    context: Context,
    artifacts: ArtifactStore,
    *,
    started: float,
    finish: Callable[[progress_pb2.Timings], Message],
    write: Callable[[RgbArray], image_pb2.Image] | None = None,
) -> AsyncGenerator[dict[str, Any], None]:
    """Draw when the turn comes, and tell of it in a response's fields.

    Args:
        engine: draws.
        request: what ``message`` asks for, resolved.
        message: says how the pictures are written, and which work goes first.
        context: of the call; its end stops the work.
        artifacts: keeps the pictures where ``message`` asks for that.
        started: when the call came in, on the clock of time.monotonic.
        finish: makes the last response's message from the timings.
        write: writes a picture, in a thread; as ``message.output`` says when left out.

    Yields:
        The one field of each response, by name: queued, started, step, preview, image, and last finished.

    Raises:
        LikenessError: as `DrawingEngine.stream`.
    """
    files_seconds = 0.0
    write = write or partial(write_image_output, output=message.output, artifacts=artifacts)
    events = engine.stream(
        request,
        token=CancelToken.for_call(context),
        tenant=current_metadata().tenant_id,
        priority=messages.PRIORITIES[message.priority],
    )
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ImageFinished):
                before = time.monotonic()
                # In a thread of its own: the device goes on with the next picture, the loop with other calls.
                image = await asyncio.to_thread(write, event.pixels)
                files_seconds += time.monotonic() - before
                yield {"image": pb2.GeneratedImage(index=event.index, seed=event.seed, image=image)}
            elif isinstance(event, PreviewReady):
                yield {"preview": await asyncio.to_thread(messages.preview_message, event)}
            elif isinstance(event, Result):
                spent: GenerationTimings = event.value
                timings = messages.timings_message(
                    spent,
                    queue_seconds=event.queued_seconds,
                    files_seconds=files_seconds,
                    total_seconds=time.monotonic() - started,
                )
                yield {"finished": finish(timings)}
            else:
                yield messages.progress(event)


def capability_fields(engine: DrawingEngine) -> dict[str, Any]:
    """Return what generators and editors alike tell of what they can do, by the names of the message's fields."""
    profile = engine.profile
    return {
        "model": messages.model_message(engine.model.description),
        "modes": [messages.mode_message(mode) for mode in profile.modes],
        "size_multiple": profile.sizes.multiple,
        "min_pixels": profile.sizes.min_pixels,
        "max_pixels": profile.sizes.max_pixels,
        "max_count": profile.max_count,
        "max_prompt_tokens": profile.max_prompt_tokens,
        "queue_capacity": engine.worker.capacity,
        "max_loras": MAX_LORAS,
    }
