"""The client's arguments into the messages of drawings and edits, which share most of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from likeness._messages import ImageSource, filled, image_input, image_output
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.results import ImageFormat, LoraUse, Priority

PRIORITIES = {
    Priority.HIGH: generator.PRIORITY_HIGH,
    Priority.NORMAL: generator.PRIORITY_NORMAL,
    Priority.LOW: generator.PRIORITY_LOW,
}


class DrawingArguments(TypedDict, total=False):
    """What drawings and edits can both be told. The server's own default stands for everything left out."""

    negative_prompt: str | None
    mode: str
    width: int | None
    height: int | None
    seed: int | None
    count: int | None
    steps: int | None
    true_cfg_scale: float | None
    loras: Sequence[LoraUse]
    trigger_word: str
    priority: Priority
    preview_every: int
    output_format: ImageFormat
    quality: int | None
    store: bool


def generate_request(
    prompt: str, *, aspect_ratio: str = "", **arguments: Unpack[DrawingArguments]
) -> generator.GenerateRequest:
    """Return the message of a drawing."""
    return filled(generator.GenerateRequest, prompt=prompt, aspect_ratio=aspect_ratio, **_fields(arguments))


def edit_request(
    images: ImageSource | Sequence[ImageSource],
    instruction: str = "",
    *,
    scene: str = "",
    denoise: float | None = None,
    mask: ImageSource | None = None,
    **arguments: Unpack[DrawingArguments],
) -> editor.EditRequest:
    """Return the message of an edit of one picture or several. Raises OSError when a path cannot be read."""
    given = [images] if not isinstance(images, Sequence) or isinstance(images, str | bytes | bytearray) else images
    return filled(
        editor.EditRequest,
        instruction=instruction,
        scene=scene,
        images=[image_input(image) for image in given],
        denoise=denoise,
        mask=None if mask is None else image_input(mask),
        **_fields(arguments),
    )


def _fields(arguments: DrawingArguments) -> dict[str, Any]:
    """Return the fields of the shared arguments. Raises TypeError for a name that is none of them."""
    unknown = arguments.keys() - DrawingArguments.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected arguments: {', '.join(sorted(unknown))}")
    fields: dict[str, Any] = dict(arguments)
    fields["loras"] = [
        filled(generator.LoraSelection, lora_id=lora.lora_id, version=lora.version, strength=lora.strength)
        for lora in arguments.get("loras", ())
    ]
    fields["priority"] = PRIORITIES[Priority(arguments.get("priority", Priority.NORMAL))]
    fields["output"] = image_output(
        fields.pop("output_format", ImageFormat.PNG), fields.pop("quality", None), fields.pop("store", False)
    )
    return fields
