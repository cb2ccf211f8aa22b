"""The bodies of edits and character scenes. Types stand here; limits come from the protos, which also check them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from gateway.models import DATA_URL, AnswerFields, ImageValue, LoraBody, choice, limited
from likeness.editor.v1 import editor_service_pb2 as editor
from likeness.results import Priority


class EditFields(AnswerFields):
    """How to edit."""

    images: list[ImageValue] = Field(
        [], description="Further pictures, in the order in which the words name them: 4 in all."
    )
    denoise: float | None = limited(
        editor.EditRequest, "denoise", None, "How much of the first picture to replace, over 0 to 1; 0.7 with one "
        "picture and 1 with several when left out.",
    )  # fmt: skip
    mode: str = limited(
        editor.EditRequest, "mode", "", 'How to draw: "full" (the default), "fast", or a further mode of the '
        "deployment.", examples=["full", "fast"],
    )  # fmt: skip
    negative_prompt: str | None = limited(editor.EditRequest, "negative_prompt", None, "What to keep out.")
    width: int | None = limited(
        editor.EditRequest, "width", None, "Width in pixels; goes with height. The first picture's shape when left out."
    )
    height: int | None = limited(editor.EditRequest, "height", None, "Height in pixels; goes with width.")
    seed: int | None = limited(
        editor.EditRequest, "seed", None, "Seed of the first result; result k is drawn with seed + k."
    )
    n: int | None = limited(editor.EditRequest, "count", None, "How many results; 1 when left out.")
    steps: int | None = limited(
        editor.EditRequest, "steps", None, "Denoising steps from noise; with denoise below 1 the first are left out."
    )
    true_cfg_scale: float | None = limited(
        editor.EditRequest, "true_cfg_scale", None, "Classifier-free guidance; the mode's own default."
    )
    loras: list[LoraBody] = limited(editor.EditRequest, "loras", [], "LoRAs to add for this request alone.")
    trigger_word: str = limited(
        editor.EditRequest, "trigger_word", "", "Put in front of the instruction when it does not hold it."
    )
    priority: Annotated[Priority, BeforeValidator(choice(Priority))] = Field(
        Priority.NORMAL, description="Which work goes first where several requests wait."
    )
    preview_every: int = limited(
        editor.EditRequest, "preview_every", 0, "Show each result after every so many steps, as events; 0 for never."
    )


class EditBody(EditFields):
    """Pictures changed as an instruction says."""

    source_image: ImageValue | None = Field(None, description="Picture 1; the results have its shape.")
    instruction: str = limited(
        editor.EditRequest, "instruction", ..., 'What to change; it may name the pictures: "Picture 1", "Picture 2" …'
    )
    mask: ImageValue | None = Field(
        None, description="Of Picture 1's size: white where it may change, black where every pixel stays."
    )
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"source_image": DATA_URL, "instruction": "Make it night", "denoise": 0.7, "steps": 40}]
        }
    )


class SceneBody(EditFields):
    """The persons of pictures in a new scene."""

    character_image: ImageValue | None = Field(None, description="A picture of the person.")
    scene: str = limited(editor.EditRequest, "scene", ..., "Where the person shall be.")
    rewrite_scene: bool = Field(
        False,
        description="Let the deployment's language model write the scene out; refused where it has none.",
    )
    lock_face: bool = Field(
        False,
        description="Swap the picture's face into the result; the answer tells the identity before and after.",
    )
    include_original: bool = Field(False, description="With lock_face: answer also with each result before the swap.")
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"character_image": DATA_URL, "scene": "on a beach at sunset", "denoise": 0.7}]}
    )
