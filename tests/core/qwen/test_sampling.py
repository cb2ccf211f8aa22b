from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline

from core.qwen.denoising import DenoisingTask, denoise
from core.qwen.loading import QwenImageModel
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.sampling import ImageFinished, StepFinished, generate
from core.qwen.text import TextEmbedding, encode_prompt
from core.runtime.cancellation import CancelToken
from likeness.errors import Cancelled, DeadlineExceeded, NonFiniteResult

PROMPT = "a professional woman in a modern office"


def make_request(model: QwenImageModel, **changes: Any) -> GenerationRequest:
    settings = {"prompt": PROMPT, "seed": 7, "width": 192, "height": 160, **changes}
    if settings.get("mode") != "fast":
        settings.setdefault("steps", 3)
    return resolve_request(model.profile, **settings)


def latents_of(
    pipeline: QwenImagePipeline,
    request: GenerationRequest,
    seed: int,
    positive: TextEmbedding,
    negative: TextEmbedding | None,
) -> torch.Tensor:
    task = DenoisingTask(seed, positive, negative, lambda: True, lambda step, total, predict: None)
    [latents] = denoise(pipeline, request, [task])
    assert latents is not None
    return latents


def draw(model: QwenImageModel, **changes: Any) -> list[npt.NDArray[np.uint8]]:
    events: list[object] = []
    generate(model.pipeline, model.decoder, make_request(model, **changes), CancelToken(), events.append)
    return [event.pixels for event in events if isinstance(event, ImageFinished)]


@pytest.fixture
def reference(checkpoint: Path) -> QwenImagePipeline:
    """The pipeline as anybody would load it, driven by its own ``__call__``."""
    pipeline = QwenImagePipeline.from_pretrained(checkpoint, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def call_reference(pipeline: QwenImagePipeline, **settings: Any) -> npt.NDArray[np.uint8]:
    image = pipeline(
        prompt=PROMPT, width=192, height=160, generator=torch.Generator().manual_seed(7), **settings
    ).images[0]
    return np.asarray(image)


def assert_same_picture(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8]) -> None:
    assert ours.shape == theirs.shape == (160, 192, 3)
    # A level of 255 may fall to the other side of a rounding.
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_full_mode_draws_what_diffusers_draws(model: QwenImageModel, reference: QwenImagePipeline) -> None:
    theirs = call_reference(reference, num_inference_steps=3, true_cfg_scale=3.0, negative_prompt="a hat, glasses")
    assert_same_picture(draw(model, negative_prompt="a hat, glasses")[0], theirs)


def test_fast_mode_draws_what_diffusers_draws_with_the_lora_and_its_schedule(
    model: QwenImageModel, reference: QwenImagePipeline, checkpoint: Path
) -> None:
    reference.load_lora_weights(checkpoint, weight_name="fast_lora.safetensors", adapter_name="lightning")
    reference.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        {**reference.scheduler.config, "base_shift": math.log(3), "max_shift": math.log(3), "shift_terminal": None}
    )
    theirs = call_reference(reference, num_inference_steps=4, true_cfg_scale=1.0)
    assert_same_picture(draw(model, mode="fast")[0], theirs)


@torch.inference_mode()
def test_latents_equal_those_of_diffusers(model: QwenImageModel, reference: QwenImagePipeline) -> None:
    request = make_request(model, steps=5, true_cfg_scale=4.0)
    theirs = reference(
        prompt=PROMPT,
        negative_prompt=" ",
        true_cfg_scale=4.0,
        num_inference_steps=5,
        width=192,
        height=160,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    draw(model)  # leaves the full mode active
    positive, negative = (encode_prompt(model.pipeline, text) for text in (PROMPT, " "))
    ours = latents_of(model.pipeline, request, 7, positive, negative)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_same_request_draws_the_same_picture_whatever_ran_before(model: QwenImageModel) -> None:
    full, fast = draw(model)[0], draw(model, mode="fast")[0]
    draw(model, width=160, height=224, steps=1, prompt="a man on the beach")
    assert np.array_equal(draw(model)[0], full)
    assert np.array_equal(draw(model, mode="fast")[0], fast)
    assert not np.array_equal(full, fast)


def test_fast_modes_lora_does_not_touch_full_mode(
    model: QwenImageModel, reference: QwenImagePipeline, checkpoint: Path
) -> None:
    def full_latents(pipeline: QwenImagePipeline) -> torch.Tensor:
        with torch.inference_mode():
            text = encode_prompt(pipeline, PROMPT)
            return latents_of(pipeline, make_request(model), 7, text, text)

    never_had_a_lora = full_latents(reference)
    draw(model)
    before = full_latents(model.pipeline)
    draw(model, mode="fast")
    draw(model)
    assert torch.equal(before, never_had_a_lora)
    assert torch.equal(full_latents(model.pipeline), never_had_a_lora)


def test_each_picture_of_several_can_be_drawn_again_alone(model: QwenImageModel) -> None:
    together = draw(model, count=3, seed=100)
    for index, pixels in enumerate(together):
        assert np.array_equal(pixels, draw(model, seed=100 + index)[0])
    assert not np.array_equal(together[0], together[1])


def test_negative_prompt_changes_the_picture(model: QwenImageModel) -> None:
    assert not np.array_equal(draw(model)[0], draw(model, negative_prompt="green hair")[0])


def test_neither_the_global_generator_nor_the_scheduler_is_used(model: QwenImageModel) -> None:
    torch.manual_seed(1)
    first = draw(model)[0]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert np.array_equal(draw(model)[0], first)
    assert model.pipeline.scheduler.step_index is None
    torch.manual_seed(1)
    draw(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_step_and_picture_is_told_in_order(model: QwenImageModel) -> None:
    events: list[object] = []
    timings = generate(
        model.pipeline, model.decoder, make_request(model, count=2, steps=2), CancelToken(), events.append
    )
    told = [
        (event.image_index, event.step, event.total_steps) if isinstance(event, StepFinished) else event.seed
        for event in events
        if isinstance(event, StepFinished | ImageFinished)
    ]
    assert told == [(0, 1, 2), (0, 2, 2), 7, (1, 1, 2), (1, 2, 2), 8]
    assert min(timings.encode_seconds, timings.denoise_seconds, timings.decode_seconds) > 0


@pytest.mark.parametrize("stop_after", [1, 2])
def test_cancelling_stops_at_the_next_step(model: QwenImageModel, stop_after: int) -> None:
    token = CancelToken()
    steps: list[int] = []

    def emit(event: object) -> None:
        assert isinstance(event, StepFinished)
        steps.append(event.step)
        if event.step == stop_after:
            token.cancel("the client went away")

    with pytest.raises(Cancelled):
        generate(model.pipeline, model.decoder, make_request(model, steps=20), token, emit)
    assert steps == list(range(1, stop_after + 1))


def test_cancelling_after_the_last_step_leaves_out_the_decoding(model: QwenImageModel) -> None:
    token = CancelToken()
    events: list[object] = []

    def emit(event: object) -> None:
        events.append(event)
        if len(events) == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        generate(model.pipeline, model.decoder, make_request(model), token, emit)
    assert len(events) == 3


def test_a_deadline_that_has_passed_stops_before_the_first_step(model: QwenImageModel) -> None:
    events: list[object] = []
    with pytest.raises(DeadlineExceeded):
        generate(model.pipeline, model.decoder, make_request(model), CancelToken.with_timeout(0), events.append)
    assert events == []


@pytest.fixture
def broken_weight(model: QwenImageModel, request: pytest.FixtureRequest) -> Iterator[None]:
    part = {"transformer": model.pipeline.transformer.proj_out, "decoder": model.decoder.layers[0]}[request.param]
    before = part.bias.data.clone()
    part.bias.data.fill_(math.nan)
    yield
    part.bias.data.copy_(before)


@pytest.mark.parametrize("broken_weight", ["transformer", "decoder"], indirect=True)
@pytest.mark.usefixtures("broken_weight")
def test_numbers_that_are_not_finite_end_in_an_error_and_no_picture(model: QwenImageModel) -> None:
    events: list[object] = []
    with pytest.raises(NonFiniteResult):
        generate(model.pipeline, model.decoder, make_request(model), CancelToken(), events.append)
    assert not any(isinstance(event, ImageFinished) for event in events)
