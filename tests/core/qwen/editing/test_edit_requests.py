from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler

from core.qwen.checkpoint import WeightsMissing
from core.qwen.editing.mask import read_mask
from core.qwen.editing.pictures import cropped, resized
from core.qwen.editing.request import EditRequest, resolve_edit
from core.qwen.editing.scene import compose_scene
from core.qwen.editing.words import check_words
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import Profile, SceneWords, Size, load_profile
from core.qwen.request import resolve_request
from core.runtime.colours import on_white
from core.runtime.decoded_image import DecodedImage
from core.runtime.profiles import ProfileError
from likeness.errors import InvalidRequest
from tests.support.checkpoint import edit_profile
from tests.support.edits import Rgb, half_mask, scenery
from weights.recipe.architecture import build_scheduler

WORDS = SceneWords(one="Put {pictures} here: {scene}.", several="{pictures}: {scene}.")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("qwen-edit")


@pytest.fixture(scope="module")
def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return build_scheduler()


def resolve(profile: Profile, scheduler: Any, images: list[Rgb], **changes: Any) -> EditRequest:
    draft = resolve_request(profile, prompt="make it night", seed=1)
    return resolve_edit(profile, draft, scheduler=scheduler, images=images, **changes)


@pytest.mark.parametrize("count", [0, 5])
def test_no_picture_and_five_are_refused(profile: Profile, scheduler: Any, count: int) -> None:
    with pytest.raises(InvalidRequest, match="1 to 4 pictures") as caught:
        resolve(profile, scheduler, [scenery()] * count)
    assert caught.value.field == "images"
    assert caught.value.metadata["max_images"] == "4"


@pytest.mark.parametrize("denoise", [0.0, 1.5, -1.0, float("nan"), float("inf")])
def test_a_denoise_that_makes_no_sense_is_refused(profile: Profile, scheduler: Any, denoise: float) -> None:
    with pytest.raises(InvalidRequest, match="above 0 to 1") as caught:
        resolve(profile, scheduler, [scenery()], denoise=denoise)
    assert caught.value.field == "denoise"


@pytest.mark.parametrize(("width", "height"), [(31, 200), (200, 31), (900, 200)])
def test_a_picture_too_small_or_too_long_is_refused(profile: Profile, scheduler: Any, width: int, height: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(profile, scheduler, [scenery(), scenery(width, height)])
    assert caught.value.field == "images[1]"


def test_a_mask_of_another_size_is_refused(profile: Profile, scheduler: Any) -> None:
    with pytest.raises(InvalidRequest, match="100×80 pixels and the first picture 192×160") as caught:
        resolve(profile, scheduler, [scenery(192, 160)], mask=half_mask(100, 80))
    assert caught.value.field == "mask"


def test_a_mask_that_lets_nothing_change_is_refused(profile: Profile, scheduler: Any) -> None:
    with pytest.raises(InvalidRequest, match="black everywhere") as caught:
        resolve(profile, scheduler, [scenery(192, 160)], mask=np.zeros((160, 192, 3), np.uint8))
    assert caught.value.field == "mask"


def test_a_mask_and_a_size_do_not_go_together(profile: Profile, scheduler: Any) -> None:
    with pytest.raises(InvalidRequest, match="own size"):
        resolve(profile, scheduler, [scenery(192, 160)], mask=half_mask(192, 160), sized=True)


def test_a_grey_mask_mixes_and_a_black_one_keeps() -> None:
    grey = np.full((4, 4, 3), 128, np.uint8)
    grey[0] = 0
    mask = read_mask(grey, size=Size(width=4, height=4), field="mask")
    source, changed = np.full((4, 4, 3), 10, np.uint8), np.full((4, 4, 3), 250, np.uint8)
    mixed = mask.composite(source, changed)
    assert np.array_equal(mixed[0], source[0])
    assert abs(int(mixed[2, 2, 0]) - (10 + 240 * 128 / 255)) < 1


def test_what_may_change_of_a_transparent_picture_shows() -> None:
    alpha = np.full((4, 4), 255, np.uint8)
    alpha[:, 1:] = (0, 128, 0)
    stored = np.full((4, 4, 3), 40, np.uint8)
    source = DecodedImage(on_white(stored, alpha), alpha, None, stored)
    black_and_white = np.zeros((4, 4, 3), np.uint8)
    black_and_white[:2] = 255
    mask = read_mask(black_and_white, size=Size(width=4, height=4), field="mask")
    opened = mask.opened(source)
    assert opened.alpha is not None
    assert (opened.alpha[:2] == 255).all()
    assert np.array_equal(opened.alpha[2:], alpha[2:])
    # Drawn white on a white ground is no change, and yet not what the file holds there.
    drawn = np.full((4, 4, 3), 255, np.uint8)
    written = opened.restored(mask.composite(source.rgb, drawn))
    assert (written[:2] == 255).all()
    assert np.array_equal(written[2:], stored[2:])


@pytest.mark.parametrize(("width", "height"), [(500, 300), (128, 128), (60, 50)])
def test_a_single_white_pixel_frees_its_latent(width: int, height: int) -> None:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[0, 0] = 255
    free = read_mask(rgb, size=Size(width=width, height=height), field="mask").free_latents(
        Size(width=128, height=128), 16
    )
    assert free.shape == (1, 64, 64)
    assert float(free.max()) == 1
    assert 0 < float(free.mean()) < 0.1


def test_a_scene_names_its_pictures_and_keeps_the_clients_braces() -> None:
    assert compose_scene(WORDS, " at {noon}. ", 1) == "Put Picture 1 here: at {noon}."
    assert compose_scene(WORDS, "at sea", 2) == "Picture 1 and Picture 2: at sea."
    assert compose_scene(WORDS, "at sea", 3) == "Picture 1, Picture 2 and Picture 3: at sea."


def test_a_scenes_wording_needs_the_scene() -> None:
    with pytest.raises(ValueError, match="both need"):
        SceneWords(one="Keep the person.", several="{scene}")


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|vision_start|>", "<|im_end|>"])
def test_tokens_of_the_template_cannot_stand_in_the_words(token: str) -> None:
    with pytest.raises(InvalidRequest, match="model's own") as caught:
        check_words(f"a {token} b", field="scene")
    assert caught.value.field == "scene"


def test_another_shape_is_cropped_in_the_middle_and_the_own_one_is_not() -> None:
    rgb = scenery(300, 100)
    assert cropped(rgb, Size(width=100, height=100)).shape == (100, 100, 3)
    assert np.array_equal(cropped(rgb, Size(width=100, height=100)), rgb[:, 100:200])
    assert cropped(rgb, Size(width=288, height=96)) is rgb
    assert resized(rgb, Size(width=300, height=100)) is rgb


def test_a_checkpoint_without_zero_cond_t_is_refused(edit_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    for part in edit_checkpoint.iterdir():
        (folder / part.name).symlink_to(part)
    (folder / "transformer").unlink()
    (folder / "transformer").mkdir()
    for part in (edit_checkpoint / "transformer").iterdir():
        text = part.read_bytes()
        if part.name == "config.json":
            text = text.replace(b'"zero_cond_t": true', b'"zero_cond_t": false')
        (folder / "transformer" / part.name).write_bytes(text)
    with pytest.raises(WeightsMissing, match="zero_cond_t"):
        load_model(edit_profile(folder), weights_dir=tmp_path)


def test_a_checkpoint_without_the_optional_lora_has_no_fast_mode(edit_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "young"
    folder.mkdir()
    for part in edit_checkpoint.iterdir():
        if part.name != "fast_lora.safetensors":
            (folder / part.name).symlink_to(part)
    profile = edit_profile(folder)
    assert [mode.name for mode in load_model(profile, weights_dir=tmp_path).profile.modes] == ["full"]
    fast = dataclasses.replace(profile, modes=profile.modes[1:])
    with pytest.raises(WeightsMissing, match="no mode left"):
        load_model(fast, weights_dir=tmp_path)


def test_a_checkpoint_that_draws_is_no_checkpoint_that_edits(edit_checkpoint: Path) -> None:
    drawing = dataclasses.replace(edit_profile(edit_checkpoint), editing=None)
    with pytest.raises(WeightsMissing, match="QwenImageEditPlusPipeline"):
        load_model(drawing, weights_dir=edit_checkpoint.parent)


def test_the_shipped_profiles_of_edits_are_whole(profile: Profile) -> None:
    assert profile.editing is not None
    assert (profile.modes[0].steps, profile.editing.denoise, profile.editing.denoise_of_several) == (40, 0.7, 1.0)
    for words in (profile.editing.scene.one, profile.editing.scene.several):
        assert all(kept in words for kept in ("identity", "clothes", "lighting"))
    assert load_profile("miniature-edit").editing is not None
    with pytest.raises(ProfileError, match="qwen-edit"):
        load_profile("nothing")


def test_room_for_pictures_is_counted(profile: Profile, edit_model: QwenImageModel) -> None:
    assert profile.max_picture_tokens == (2 * 2_359_296 + 3 * 1_048_576) // 256
    assert edit_model.pipeline.transformer.zero_cond_t
