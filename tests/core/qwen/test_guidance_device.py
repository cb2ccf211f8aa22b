from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from core.qwen.loading import QwenImageModel, load_model
from core.qwen.preflight import LoadingChoices
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, generate
from core.qwen.warmup import warm_up
from core.runtime.cancellation import CancelToken
from tests.support.checkpoint import checkpoint_profile


@pytest.fixture(scope="module")
def pair(checkpoint: Path) -> QwenImageModel:
    """A model whose negative branch has a transformer of its own; both devices are the CPU."""
    choices = LoadingChoices(device="cpu", guidance_device="cpu")
    return load_model(checkpoint_profile(checkpoint), weights_dir=checkpoint, choices=choices)


def draw(model: QwenImageModel, mode: str) -> npt.NDArray[np.uint8]:
    request = resolve_request(
        model.profile,
        prompt="a woman in an office",
        seed=3,
        mode=mode,
        width=160,
        height=160,
        steps=None if mode == "fast" else 3,
    )
    pictures: list[npt.NDArray[np.uint8]] = []

    def emit(event: object) -> None:
        if isinstance(event, ImageFinished):
            pictures.append(event.pixels)

    generate(
        model.pipeline,
        model.decoder,
        request,
        CancelToken(),
        emit,
        guidance_transformer=model.guidance_transformer,
    )
    return pictures[0]


def test_guidance_on_a_second_device_draws_the_same_picture(model: QwenImageModel, pair: QwenImageModel) -> None:
    assert pair.guidance_transformer is not None
    assert pair.guidance_transformer is not pair.pipeline.transformer
    assert pair.description.guidance_device == "cpu"
    for mode in ("full", "fast", "full"):
        assert np.array_equal(draw(pair, mode), draw(model, mode))


def test_each_device_works_on_one_branch(pair: QwenImageModel) -> None:
    calls: list[str] = []
    hooks = [
        transformer.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, transformer in zip(("positive", "negative"), pair.transformers, strict=True)
    ]
    draw(pair, "full")
    draw(pair, "fast")
    for hook in hooks:
        hook.remove()
    # The negative branch is begun first, so that its device works while the other is told what to do.
    assert calls == ["negative", "positive"] * 3 + ["positive"] * 4


def test_warming_up_uses_both_devices(pair: QwenImageModel) -> None:
    calls: list[None] = []
    assert pair.guidance_transformer is not None
    hook = pair.guidance_transformer.register_forward_hook(lambda *_: calls.append(None))
    assert warm_up(pair) == 0
    hook.remove()
    assert calls
