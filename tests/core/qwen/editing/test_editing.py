"""Edits are held against diffusers' own pipeline, and against what a person expects of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPlusPipeline
from PIL import Image

from core.qwen.conditioning import Conditioning
from core.qwen.denoising import DenoisingTask, denoise
from core.qwen.editing import pictures
from core.qwen.editing.conditioning import PictureConditioner
from core.qwen.editing.request import EditRequest, resolve_edit
from core.qwen.editing.words import picture_tokens
from core.qwen.loading import QwenImageModel
from core.qwen.profile import Size
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, PreviewReady, StepFinished, generate
from core.runtime.cancellation import CancelToken
from likeness.errors import Cancelled
from tests.support.edits import Rgb, half_mask, scenery

INSTRUCTION = "The person of Picture 1 in a modern office"
VISION, LATENT = 112 * 112, 128 * 128


def make_request(
    model: QwenImageModel, images: list[Rgb], *, denoise: float | None = 1.0, mask: Rgb | None = None, **choices: Any
) -> EditRequest:
    if choices.get("mode") != "fast":
        choices = {"steps": 2, "true_cfg_scale": 1.0, **choices}
    draft = resolve_request(model.profile, prompt=INSTRUCTION, **{"seed": 7, **choices})
    return resolve_edit(
        model.profile,
        draft,
        scheduler=model.pipeline.scheduler,
        images=images,
        sized="width" in choices,
        denoise=denoise,
        mask=mask,
    )


def run(model: QwenImageModel, request: EditRequest, **call: Any) -> list[Any]:
    events: list[Any] = []
    generate(
        model.pipeline,
        model.decoder,
        request,
        CancelToken(),
        events.append,
        condition=PictureConditioner(model.pipeline),
        **call,
    )
    return events


def edit(model: QwenImageModel, images: list[Rgb], **choices: Any) -> list[Rgb]:
    events = run(model, make_request(model, images, **choices))
    return [event.pixels for event in events if isinstance(event, ImageFinished)]


@torch.inference_mode()
def latents_of(model: QwenImageModel, request: EditRequest) -> torch.Tensor:
    given: Conditioning = PictureConditioner(model.pipeline)(model.pipeline, request)
    task = DenoisingTask(
        request.seed, given.positive, given.negative, lambda: True, lambda step, total, predict: None, given.pictures
    )
    [latents] = denoise(model.pipeline, request, [task])
    assert latents is not None
    return latents


@pytest.fixture
def library(edit_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> QwenImageEditPlusPipeline:
    """diffusers' own pipeline in the miniature's sizes, told which tokens are a picture's."""
    pipeline = QwenImageEditPlusPipeline.from_pretrained(edit_checkpoint, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    module = "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus."
    monkeypatch.setattr(module + "CONDITION_IMAGE_SIZE", VISION)
    monkeypatch.setattr(module + "VAE_IMAGE_SIZE", LATENT)

    def dimensions(area: int, ratio: float) -> tuple[int, int]:
        size = pictures.fit_area(1000, round(1000 / ratio), area, 16)
        return size.width, size.height

    monkeypatch.setattr(module + "calculate_dimensions", dimensions)

    def tell_positions(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "mm_token_type_ids": picture_tokens(pipeline, kwargs["input_ids"])}

    pipeline.text_encoder.register_forward_pre_hook(tell_positions, with_kwargs=True)
    return pipeline


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_an_edit_equals_that_of_the_librarys_pipeline(
    edit_model: QwenImageModel, library: QwenImageEditPlusPipeline, count: int, guidance: float
) -> None:
    images = [scenery(200, 160), scenery(160, 200, seed=1)][:count]
    request = make_request(edit_model, images, true_cfg_scale=guidance, steps=3)
    ours = latents_of(edit_model, request)
    theirs = library(
        image=[Image.fromarray(image) for image in images],
        prompt=INSTRUCTION,
        negative_prompt=" " if guidance > 1 else None,
        true_cfg_scale=guidance,
        width=request.size.width,
        height=request.size.height,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 1e-4


def test_the_numbers_of_sizes_are_the_librarys() -> None:
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

    for width, height in ((1000, 750), (4032, 3024), (333, 1111), (1920, 1080)):
        size = pictures.fit_area(width, height, 1024 * 1024, 32)
        assert (size.width, size.height) == calculate_dimensions(1024 * 1024, width / height)


def test_the_order_of_pictures_matters(edit_model: QwenImageModel) -> None:
    first, second = scenery(seed=1), scenery(seed=2)
    one, other = (
        latents_of(edit_model, make_request(edit_model, order)) for order in ([first, second], [second, first])
    )
    assert not torch.allclose(one, other, atol=1e-4)


def test_the_second_picture_is_seen(edit_model: QwenImageModel) -> None:
    first = scenery(seed=1)
    one, other = (latents_of(edit_model, make_request(edit_model, [first, scenery(seed=seed)])) for seed in (2, 3))
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("width", "height"), [(192, 160), (161, 203), (300, 250)])
def test_the_result_has_the_sources_own_size(edit_model: QwenImageModel, width: int, height: int) -> None:
    assert edit(edit_model, [scenery(width, height)], steps=1)[0].shape == (height, width, 3)


def test_a_source_beyond_the_models_area_keeps_its_shape(edit_model: QwenImageModel) -> None:
    sizes = edit_model.profile.sizes
    for width, height in ((1200, 800), (72, 48)):
        result = edit(edit_model, [scenery(width, height)], steps=1)[0]
        assert result.shape[1] / result.shape[0] == pytest.approx(1.5, rel=0.01)
        assert sizes.min_pixels * 0.99 <= result.shape[0] * result.shape[1] <= sizes.max_pixels * 1.01


def test_a_named_size_is_taken(edit_model: QwenImageModel) -> None:
    assert edit(edit_model, [scenery()], steps=1, width=112, height=144)[0].shape == (144, 112, 3)


@pytest.mark.parametrize(("width", "height"), [(112, 144), (144, 112), (160, 160)])
def test_a_result_of_another_shape_or_size_lies_over_its_source(
    edit_model: QwenImageModel, width: int, height: int
) -> None:
    request = make_request(edit_model, [scenery(128, 128), scenery(96, 128)], denoise=0.5, width=width, height=height)
    given = PictureConditioner(edit_model.pipeline)(edit_model.pipeline, request).pictures
    assert given is not None
    assert given.source is not None
    # The transformer sees Picture 1 where the work begins, and Picture 2 in its own shape.
    assert given.shapes == ((1, height // 16, width // 16), (1, 9, 7))
    assert torch.equal(given.references[:, : given.source.shape[1]], given.source)
    assert request.tokens == width * height // 256 * 2 + 9 * 7
    from_noise = make_request(edit_model, [scenery(128, 128)], denoise=1.0, width=width, height=height)
    assert from_noise.pictures[0].latent == Size(width=128, height=128)


@torch.inference_mode()
def test_more_denoise_leads_further_from_the_source(edit_model: QwenImageModel) -> None:
    model, source = edit_model, scenery(128, 128)
    requests = [make_request(model, [source], denoise=value, steps=10) for value in (0.2, 0.4, 0.6, 0.8, 1.0)]
    given = [PictureConditioner(model.pipeline)(model.pipeline, request).pictures for request in requests]
    assert given[0] is not None
    assert given[0].source is not None
    distances = [float((latents_of(model, request) - given[0].source).square().mean()) for request in requests]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1] / 2


def test_the_work_begins_at_the_nearest_level(edit_model: QwenImageModel) -> None:
    # The fast mode's levels are 1, 0.9, 0.75 and 0.5.
    for wanted, level, steps in ((1.0, 1.0, 4), (0.93, 0.9, 3), (0.7, 0.75, 2), (0.5, 0.5, 1), (0.01, 0.5, 1)):
        request = make_request(edit_model, [scenery()], denoise=wanted, mode="fast")
        assert (round(request.begins_at, 3), request.work_steps) == (level, steps)


def test_steps_are_told_of_those_that_are_taken(edit_model: QwenImageModel) -> None:
    request = make_request(edit_model, [scenery()], denoise=0.7, mode="fast", preview_every=1)
    events = run(edit_model, request)
    assert [(e.step, e.total_steps) for e in events if isinstance(e, StepFinished)] == [(1, 2), (2, 2)]
    assert [e.step for e in events if isinstance(e, PreviewReady)] == [1]


def test_an_edit_without_a_denoise_takes_the_profiles(edit_model: QwenImageModel) -> None:
    assert make_request(edit_model, [scenery()], denoise=None).denoise == 0.7
    assert make_request(edit_model, [scenery(), scenery()], denoise=None).denoise == 1.0


@pytest.mark.parametrize(("width", "height"), [(192, 160), (333, 250), (640, 400)])
def test_outside_the_mask_every_bit_stays(edit_model: QwenImageModel, width: int, height: int) -> None:
    source = scenery(width, height)
    result = edit(edit_model, [source], mask=half_mask(width, height), steps=2)[0]
    assert result.shape == source.shape
    assert np.array_equal(result[:, width // 2 :], source[:, width // 2 :])
    assert not np.array_equal(result[:, : width // 2], source[:, : width // 2])


@torch.inference_mode()
def test_what_the_mask_holds_is_held_in_the_latents_too(edit_model: QwenImageModel) -> None:
    request = make_request(edit_model, [scenery(128, 128)], mask=half_mask(128, 128))
    given = PictureConditioner(edit_model.pipeline)(edit_model.pipeline, request).pictures
    assert given is not None
    assert given.source is not None
    latents = latents_of(edit_model, request).view(8, 8, 64)
    source = given.source.view(8, 8, 64)
    assert torch.allclose(latents[:, 4:], source[:, 4:], atol=1e-5)
    assert not torch.allclose(latents[:, :4], source[:, :4], atol=1e-2)


def test_an_edit_does_not_depend_on_what_ran_before(edit_model: QwenImageModel) -> None:
    images = [scenery(seed=4)]
    alone = edit(edit_model, images)[0]
    edit(edit_model, [scenery(seed=5), scenery(seed=6)], mode="fast")
    assert np.array_equal(alone, edit(edit_model, images)[0])


def test_result_k_is_drawn_again_alone_by_its_seed(edit_model: QwenImageModel) -> None:
    images = [scenery(seed=4)]
    both = edit(edit_model, images, count=2, seed=11)
    assert np.array_equal(both[1], edit(edit_model, images, seed=12)[0])


def test_results_drawn_together_are_alike_to_those_drawn_alone(edit_model: QwenImageModel) -> None:
    request = make_request(edit_model, [scenery(seed=4)], count=2, denoise=0.7)
    together = [e.pixels for e in run(edit_model, request, pictures_at_once=2) if isinstance(e, ImageFinished)]
    alone = [e.pixels for e in run(edit_model, request) if isinstance(e, ImageFinished)]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 2


def test_the_fast_modes_lora_acts(edit_model: QwenImageModel) -> None:
    request = make_request(edit_model, [scenery()], mode="fast")
    without = dataclasses.replace(request, mode=dataclasses.replace(request.mode, lora=None))
    one, other = (
        next(e.pixels for e in run(edit_model, r) if isinstance(e, ImageFinished)) for r in (request, without)
    )
    assert not np.array_equal(one, other)


def test_a_cancel_stops_between_steps(edit_model: QwenImageModel) -> None:
    token, events = CancelToken(), []

    def emit(event: Any) -> None:
        events.append(event)
        token.cancel()

    with pytest.raises(Cancelled):
        generate(
            edit_model.pipeline,
            edit_model.decoder,
            make_request(edit_model, [scenery()], steps=5),
            token,
            emit,
            condition=PictureConditioner(edit_model.pipeline),
        )
    assert len(events) == 1
