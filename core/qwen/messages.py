"""What an engine tells, in messages of the contract that the generator and the editor share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from core.qwen.loading import ModelDescription
from core.qwen.loras.library import LoraChoice
from core.qwen.loras.requested import RequestedLora
from core.qwen.profile import Mode
from core.qwen.request import GenerationRequest
from core.qwen.sampling import GenerationTimings, PreviewReady, StepFinished
from core.runtime.images import ImageFormat, encode_image, to_image_message
from core.runtime.worker import Priority, Queued, Started
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.editor.v1.editor_service_pb2 import EditRequest
from likeness.generator.v1 import generator_service_pb2 as pb2

PRIORITIES = {
    pb2.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb2.PRIORITY_HIGH: Priority.HIGH,
    pb2.PRIORITY_NORMAL: Priority.NORMAL,
    pb2.PRIORITY_LOW: Priority.LOW,
}
"""The worker's priorities by the contract's."""
PREVIEW_QUALITY = 80
"""Quality of a preview's JPEG."""


DrawingMessage = pb2.GenerateRequest | EditRequest
"""What asks for pictures."""


def optional(message: Message, field: str) -> Any:
    """Return a field that has presence, None when it is not set."""
    return getattr(message, field) if message.HasField(field) else None


def drawing_choices(message: DrawingMessage) -> dict[str, Any]:
    """Return what drawings and edits alike may choose, by the names of ``resolve_request``; its LoRAs apart."""
    present = ("seed", "negative_prompt", "width", "height", "count", "steps", "true_cfg_scale")
    return {
        **{field: optional(message, field) for field in present},
        "mode": message.mode,
        "trigger_word": message.trigger_word,
        "preview_every": message.preview_every,
    }


def progress(event: Queued | Started | StepFinished) -> dict[str, Any]:
    """Return the one field of an answer that tells of ``event``, by name."""
    match event:
        case Queued(position=position):
            return {"queued": progress_pb2.Queued(position=position)}
        case Started(queued_seconds=seconds):
            return {"started": progress_pb2.Started(queued=duration(seconds))}
        case StepFinished(image_index=index, step=step, total_steps=total):
            return {"step": progress_pb2.Step(image_index=index, step=step, total_steps=total)}


def lora_choices(message: DrawingMessage) -> list[LoraChoice]:
    """Return what a request says of its LoRAs; one without a strength acts with 1."""
    return [
        LoraChoice(lora.lora_id, lora.version, lora.strength if lora.HasField("strength") else 1.0)
        for lora in message.loras
    ]


def lora_messages(loras: Sequence[RequestedLora]) -> list[pb2.LoraSelection]:
    """Return the LoRAs that acted, with their versions."""
    return [
        pb2.LoraSelection(lora_id=lora.record.lora_id, version=lora.record.version, strength=lora.strength)
        for lora in loras
    ]


def preview_message(event: PreviewReady) -> pb2.GeneratePreview:
    """Return a preview as a small JPEG. Blocking."""
    encoded = encode_image(event.pixels, ImageFormat.JPEG, PREVIEW_QUALITY)
    return pb2.GeneratePreview(
        image_index=event.image_index,
        step=event.step,
        total_steps=event.total_steps,
        image=to_image_message(encoded, image_pb2.ImageOutput(), None),
    )


def mode_message(mode: Mode) -> pb2.Mode:
    """Return a mode as the capabilities tell of it."""
    return pb2.Mode(
        name=mode.name,
        default_steps=mode.steps,
        default_true_cfg_scale=mode.true_cfg_scale,
        distilled_lora=mode.lora.label if mode.lora else "",
        adjustable=mode.adjustable,
        default_negative_prompt=mode.negative_prompt if mode.true_cfg_scale > 1 else "",
        step_cache=mode.step_cache.label if mode.step_cache else "",
    )


def model_message(model: ModelDescription, mode: Mode | None = None) -> progress_pb2.ModelInfo:
    """Return the weights in use; with ``mode`` also what lets its steps reuse work."""
    return progress_pb2.ModelInfo(
        name=model.name,
        revision=model.revision,
        profile=model.profile,
        precision=model.precision,
        device=model.device,
        offload=model.offload,
        compiled=model.compiled,
        step_cache=mode.step_cache.label if mode and mode.step_cache else "",
        guidance_device=model.guidance_device,
    )


def finished_fields(
    request: GenerationRequest, model: ModelDescription, timings: progress_pb2.Timings
) -> dict[str, Any]:
    """Return what drawings and edits alike tell at their end, by the names of the message's fields."""
    return {
        "seed": request.seed,
        "mode": request.mode.name,
        "steps": request.work_steps,
        "true_cfg_scale": request.true_cfg_scale,
        "timings": timings,
        "model": model_message(model, request.mode),
        "loras": lora_messages(request.loras),
    }


def timings_message(
    timings: GenerationTimings, *, queue_seconds: float, files_seconds: float, total_seconds: float
) -> progress_pb2.Timings:
    """Return where the time went; ``files_seconds`` is what writing the pictures' files took."""
    return progress_pb2.Timings(
        queue=duration(queue_seconds),
        encode=duration(timings.encode_seconds),
        denoise=duration(timings.denoise_seconds),
        decode=duration(timings.decode_seconds + files_seconds),
        total=duration(total_seconds),
    )


def duration(seconds: float) -> Duration:
    """Return a time, to the nanosecond."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
