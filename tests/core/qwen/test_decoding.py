from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.qwen.decoding import PREVIEW_PIXELS, decode_preview
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import Size, load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, PreviewReady, generate
from core.runtime.cancellation import CancelToken

WEIGHTS = Path(__file__).parents[3] / "weights"


def events_of(model: QwenImageModel, **changes: Any) -> list[object]:
    settings = {"prompt": "a man in a café", "seed": 7, "width": 192, "height": 160, "steps": 6, **changes}
    events: list[object] = []
    generate(model.pipeline, model.decoder, resolve_request(model.profile, **settings), CancelToken(), events.append)
    return events


def previews(events: list[object]) -> list[PreviewReady]:
    return [event for event in events if isinstance(event, PreviewReady)]


def pixels(events: list[object]) -> list[np.ndarray[Any, Any]]:
    return [event.pixels for event in events if isinstance(event, ImageFinished)]


def test_previews_come_after_every_so_many_steps_but_not_after_the_last(model: QwenImageModel) -> None:
    told = previews(events_of(model, preview_every=2, count=2))
    assert [(preview.image_index, preview.step, preview.total_steps) for preview in told] == [
        (0, 2, 6),
        (0, 4, 6),
        (1, 2, 6),
        (1, 4, 6),
    ]
    assert {preview.pixels.shape for preview in told} == {(80, 96, 3)}


def test_previews_do_not_change_the_picture(model: QwenImageModel) -> None:
    assert np.array_equal(pixels(events_of(model, preview_every=1))[0], pixels(events_of(model))[0])


def test_nobody_asked_no_preview_is_made(model: QwenImageModel) -> None:
    assert previews(events_of(model)) == []


def test_previews_show_the_picture_and_come_nearer_to_it() -> None:
    miniature = load_model(load_profile("miniature"), weights_dir=WEIGHTS)
    events = events_of(miniature, preview_every=2, steps=8)
    target = np.asarray(Image.fromarray(pixels(events)[0]).resize((96, 80), Image.Resampling.BOX), dtype=float)
    errors = [float(np.abs(preview.pixels - target).mean()) for preview in previews(events)]
    assert errors[-1] < errors[0]
    assert errors[-1] < 20


@pytest.mark.parametrize(("size", "shape"), [((1664, 928), (214, 384, 3)), ((256, 336), (168, 128, 3))])
@torch.inference_mode()
def test_a_preview_is_small_however_large_the_picture(
    model: QwenImageModel, size: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    width, height = size
    latents = torch.zeros(1, width * height // 256, 64)
    preview = decode_preview(model.decoder, latents, Size(width=width, height=height))
    assert preview is not None
    assert preview.shape == shape
    assert max(preview.shape) <= PREVIEW_PIXELS


def test_numbers_that_are_not_finite_have_no_preview(model: QwenImageModel) -> None:
    latents = torch.full((1, 120, 64), torch.nan)
    assert decode_preview(model.decoder, latents, Size(width=192, height=160)) is None
