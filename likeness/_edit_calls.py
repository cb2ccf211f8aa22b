"""The calls of the editor: arguments in, typed results out."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import grpc.aio

from likeness import _convert as convert
from likeness._requests import PRIORITIES, ImageSource, filled, image_input, image_output
from likeness.calls import CallOptions, StreamCall, UnaryCall
from likeness.editor.v1 import editor_service_pb2 as pb2
from likeness.editor.v1 import editor_service_pb2_grpc
from likeness.edits import EditFinished, EditorCapabilities
from likeness.errors import Internal
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import Finished, GenerationEvent, ImageFormat, LoraUse, Priority


class EditCalls:
    """``likeness.editor.v1.EditorService`` over a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call over ``channel``."""
        stub: Any = editor_service_pb2_grpc.EditorServiceStub(channel)
        self._edit: StreamCall[pb2.EditRequest, pb2.EditResponse] = StreamCall(stub.Edit, "editor")
        self._capabilities: UnaryCall[pb2.GetCapabilitiesRequest, pb2.GetCapabilitiesResponse] = UnaryCall(
            stub.GetCapabilities, "editor"
        )

    async def send(self, request: pb2.EditRequest, options: CallOptions) -> AsyncGenerator[GenerationEvent, None]:
        """Send a message of the contract and yield the events, the last one `EditFinished`. Raises LikenessError."""
        ended = False
        async with aclosing(self._edit(request, options)) as responses:
            async for response in responses:
                event = edit_event(response)
                if event is not None:
                    yield event
                    ended = ended or isinstance(event, EditFinished)
        if not ended:
            raise Internal("the editor ended its answer without the finishing event")

    async def capabilities(self, options: CallOptions) -> EditorCapabilities:
        """Tell what the editor can do. Raises LikenessError."""
        answer = await self._capabilities(pb2.GetCapabilitiesRequest(), options)
        return EditorCapabilities(
            model=convert.model(answer.model),
            modes=tuple(map(convert.mode, answer.modes)),
            size_multiple=answer.size_multiple,
            min_pixels=answer.min_pixels,
            max_pixels=answer.max_pixels,
            max_aspect_ratio=answer.max_aspect_ratio,
            max_count=answer.max_count,
            max_images=answer.max_images,
            max_prompt_tokens=answer.max_prompt_tokens,
            queue_capacity=answer.queue_capacity,
            max_loras=answer.max_loras,
            default_denoise=answer.default_denoise,
            default_denoise_of_several=answer.default_denoise_of_several,
        )


def edit_event(response: pb2.EditResponse) -> GenerationEvent | None:
    """Return one event of an edit; None for a kind that this client does not know yet."""
    # The fields of both responses, and of both last events but for the editor's own two, are the same.
    event = convert.event(cast(generator.GenerateResponse, response))
    if not isinstance(event, Finished):
        return event
    common = {field.name: getattr(event, field.name) for field in dataclasses.fields(Finished)}
    return EditFinished(**common, denoise=response.finished.denoise, instruction=response.finished.instruction)


def edit_request(
    images: ImageSource | Sequence[ImageSource],
    instruction: str = "",
    *,
    scene: str = "",
    denoise: float | None = None,
    mask: ImageSource | None = None,
    negative_prompt: str | None = None,
    mode: str = "",
    width: int | None = None,
    height: int | None = None,
    seed: int | None = None,
    count: int | None = None,
    steps: int | None = None,
    true_cfg_scale: float | None = None,
    loras: Sequence[LoraUse] = (),
    trigger_word: str = "",
    priority: Priority = Priority.NORMAL,
    preview_every: int = 0,
    output_format: ImageFormat = ImageFormat.PNG,
    quality: int | None = None,
    store: bool = False,
) -> pb2.EditRequest:
    """Return the message of an edit of one picture or several. Raises OSError when a path cannot be read."""
    given = [images] if not isinstance(images, Sequence) or isinstance(images, str | bytes | bytearray) else images
    return filled(
        pb2.EditRequest,
        instruction=instruction,
        scene=scene,
        images=[image_input(image) for image in given],
        denoise=denoise,
        mask=None if mask is None else image_input(mask),
        negative_prompt=negative_prompt,
        mode=mode,
        width=width,
        height=height,
        seed=seed,
        count=count,
        steps=steps,
        true_cfg_scale=true_cfg_scale,
        loras=[
            filled(generator.LoraSelection, lora_id=lora.lora_id, version=lora.version, strength=lora.strength)
            for lora in loras
        ],
        trigger_word=trigger_word,
        priority=PRIORITIES[Priority(priority)],
        preview_every=preview_every,
        output=image_output(output_format, quality, store),
    )
