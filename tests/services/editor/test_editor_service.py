from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save

from core.qwen.profile import PROFILES_FOLDER
from core.runtime.profiles import ProfileError
from likeness.common.v1 import image_pb2
from likeness.editor.v1.editor_service_pb2 import EditRequest, GetCapabilitiesRequest
from likeness.errors import (
    ImageAnimated,
    ImageFormatUnsupported,
    ImageUnreadable,
    InvalidRequest,
    LoraNotFound,
    PromptTooLong,
    QueueFull,
    UnknownMode,
)
from likeness.generator.v1.generator_service_pb2 import LoraSelection
from services.editor.engine import EditorEngine
from services.editor.settings import EditorSettings
from tests.core.runtime.test_decoded_image import wide_profile
from tests.support.checkpoint import random_lora
from tests.support.editor import RunningEditor, picture
from tests.support.edits import encoded, half_mask, scenery
from tests.support.generator import RunningGenerator

INSTRUCTION = "make it night"


def request(**fields: Any) -> EditRequest:
    """A quick edit of one small picture; ``fields`` change it."""
    given: dict[str, Any] = {
        "instruction": INSTRUCTION,
        "images": [picture()],
        "seed": 3,
        "steps": 2,
        "true_cfg_scale": 1.0,
        **fields,
    }
    return EditRequest(**{name: value for name, value in given.items() if value is not None})


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


async def test_an_edit_tells_its_progress_and_how_it_was_made(editor: RunningEditor) -> None:
    events = await editor.edit(request(steps=10, count=2, preview_every=2))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "queued"
    assert "started" in kinds
    assert kinds.count("image") == 2
    assert kinds[-1] == "finished"
    finished = events[-1].finished
    steps = [event.step for event in events if event.HasField("step")]
    assert {step.total_steps for step in steps} == {finished.steps}
    assert finished.steps < 10
    assert abs(finished.denoise - 0.7) < 0.1
    assert (finished.width, finished.height) == (96, 80)
    assert finished.instruction == INSTRUCTION
    assert any(event.HasField("preview") for event in events)
    assert [event.image.seed for event in events if event.HasField("image")] == [3, 4]


async def test_the_same_request_gives_the_same_picture(editor: RunningEditor) -> None:
    one, _ = await editor.picture_of(request())
    await editor.picture_of(request(images=[picture(seed=5), picture(seed=6)]))
    other, _ = await editor.picture_of(request())
    assert one == other


async def test_a_scene_is_composed_into_an_instruction(editor: RunningEditor) -> None:
    _, finished = await editor.picture_of(
        request(instruction=None, scene="on the beach", images=[picture(), picture(seed=1)])
    )
    assert "on the beach" in finished.instruction
    assert "Picture 1 and Picture 2" in finished.instruction
    assert finished.denoise == 1.0


async def test_a_lora_of_one_tenant_acts_for_no_other(editor: RunningEditor) -> None:
    editor.loras.register("style", save(random_lora(seed=9)), tenant_id="acme")
    with_style = request(loras=[LoraSelection(lora_id="style")])
    for metadata in ((), (("x-tenant-id", "other"),)):
        assert isinstance(await editor.refusal(with_style, metadata=metadata), LoraNotFound)
    events = await editor.edit(with_style, metadata=(("x-tenant-id", "acme"),))
    assert [lora.lora_id for lora in events[-1].finished.loras] == ["style"]


async def test_a_mask_keeps_every_bit_outside(editor: RunningEditor) -> None:
    mask = image_pb2.ImageInput(data=encoded(half_mask(96, 80)))
    data, _ = await editor.picture_of(request(mask=mask))
    source = scenery(96, 80)
    assert np.array_equal(decoded(data)[:, 48:], source[:, 48:])
    assert not np.array_equal(decoded(data)[:, :48], source[:, :48])


async def test_a_mask_keeps_the_files_own_values_profile_and_transparency(editor: RunningEditor) -> None:
    rgba = np.dstack([scenery(96, 80), np.full((80, 96), 255, np.uint8)])
    rgba[:, ::3, 3] = 90
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, "PNG", icc_profile=wide_profile())
    mask = image_pb2.ImageInput(data=encoded(half_mask(96, 80)))
    data, _ = await editor.picture_of(request(images=[image_pb2.ImageInput(data=file.getvalue())], mask=mask))
    answer = Image.open(io.BytesIO(data))
    assert answer.info["icc_profile"] == wide_profile()
    assert np.array_equal(np.asarray(answer)[:, 48:], rgba[:, 48:])
    assert (np.asarray(answer)[:, :48, 3] == 255).all()


async def test_a_registered_lora_acts(editor: RunningEditor) -> None:
    editor.loras.register("style", save(random_lora(seed=9)), trigger_word="ohwx")
    plain, _ = await editor.picture_of(request())
    changed, finished = await editor.picture_of(request(loras=[LoraSelection(lora_id="style")]))
    assert plain != changed
    assert [(lora.lora_id, lora.version) for lora in finished.loras] == [("style", 1)]
    assert finished.instruction == f"ohwx, {INSTRUCTION}"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"images": None}, "images"),
        ({"images": [picture()] * 5}, "images"),
        ({"denoise": 0.0}, "denoise"),
        ({"denoise": 1.5}, "denoise"),
        ({"denoise": float("nan")}, "denoise"),
        ({"instruction": None}, None),
        ({"instruction": " \n "}, "instruction"),
        ({"scene": "at sea"}, None),
        ({"instruction": None, "scene": " \t"}, "scene"),
        ({"instruction": None, "scene": "x" * 2001}, "scene"),
        ({"instruction": "x" * 4001}, "instruction"),
        ({"instruction": "look <|image_pad|>"}, "instruction"),
        ({"negative_prompt": "<|vision_start|>", "true_cfg_scale": 3.0}, "negative_prompt"),
        ({"negative_prompt": "blur"}, "negative_prompt"),
        ({"trigger_word": "<|video_pad|>"}, "trigger_word"),
        ({"width": 96}, None),
        ({"width": 4000, "height": 64}, "width"),
        ({"mask": picture(50, 50)}, "mask"),
        ({"mask": image_pb2.ImageInput(data=encoded(np.zeros((80, 96, 3), np.uint8)))}, "mask"),
        ({"mask": picture(), "width": 96, "height": 80}, None),
        ({"images": [picture(), picture(20, 90)]}, "images[1]"),
        ({"mode": "fast", "steps": 9}, "steps"),
        ({"steps": 0}, "steps"),
        ({"count": 9}, "count"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_field(
    editor: RunningEditor, fields: dict[str, object], field: str | None
) -> None:
    error = await editor.refusal(request(**fields))
    assert isinstance(error, InvalidRequest)
    assert error.field == field or (field is None and error.violations)


async def test_words_longer_than_the_encoder_takes_are_refused(editor: RunningEditor) -> None:
    error = await editor.refusal(request(instruction=None, scene="zq " * 600))
    assert isinstance(error, PromptTooLong)
    assert (error.field, error.metadata["max_tokens"]) == ("scene", "256")


async def test_an_unknown_mode_is_refused(editor: RunningEditor) -> None:
    assert isinstance(await editor.refusal(request(mode="slow")), UnknownMode)


async def test_odd_picture_files_are_refused_or_taken(editor: RunningEditor) -> None:
    rgb = Image.fromarray(scenery(96, 80))

    def file(image: Image.Image, kind: str, **options: object) -> image_pb2.ImageInput:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return image_pb2.ImageInput(data=buffer.getvalue())

    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        converted = rgb.convert("L").convert(mode) if mode == "I;16" else rgb.convert(mode)
        image = file(converted, "JPEG" if mode == "CMYK" else "PNG")
        data, _ = await editor.picture_of(request(images=[image], steps=1))
        assert decoded(data).shape == (80, 96, 3)
    for data, kind in ((b"GIF89a" + bytes(50), ImageFormatUnsupported), (encoded(scenery())[:200], ImageUnreadable)):
        error = await editor.refusal(request(images=[picture(), image_pb2.ImageInput(data=data)]))
        assert isinstance(error, kind)
        assert error.field == "images[1].data"
    film = file(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90, expand=False)])
    assert isinstance(await editor.refusal(request(images=[film])), ImageAnimated)


async def test_a_full_queue_is_told_before_pictures_are_decoded(editor: RunningEditor) -> None:
    busy = RunningGenerator(editor.channel, editor.worker, editor.model, editor.loras).busy_device()
    async with busy:
        waiting = [editor.stub.Edit(request(seed=seed)) for seed in range(2)]
        for call in waiting:
            await anext(aiter(call))
        damaged = image_pb2.ImageInput(data=b"no picture")
        assert isinstance(await editor.refusal(request(images=[damaged])), QueueFull)
        for call in waiting:
            call.cancel()


async def test_capabilities_tell_the_limits(editor: RunningEditor) -> None:
    answer = await editor.stub.GetCapabilities(GetCapabilitiesRequest())
    assert [mode.name for mode in answer.modes] == ["full", "fast"]
    assert (answer.max_images, answer.default_denoise, answer.default_denoise_of_several) == (4, 0.7, 1.0)


async def test_warming_up_edits_in_every_mode(editor: RunningEditor) -> None:
    engine = EditorEngine(editor.model, editor.worker, editor.loras)
    assert engine.warm_up() == 0


def test_settings_name_an_edit_profile() -> None:
    assert EditorSettings.load(profile="qwen").read_profile().name == "qwen-edit"
    assert EditorSettings.load().read_profile().name == "miniature-edit"


def test_a_profile_that_draws_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"no \[editing\]"):
        EditorSettings.load(profile_file=PROFILES_FOLDER / "miniature.toml").read_profile()
