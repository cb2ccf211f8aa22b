"""The shipped weights in the shipped profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from core.qwen.loading import QwenImageModel, load_model
from core.qwen.loras.library import LoraChoice, LoraLibrary
from core.qwen.profile import Mode, load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, generate
from core.runtime.artifacts import ArtifactStore
from core.runtime.cancellation import CancelToken
from weights.recipe.character_lora import TRIGGER_WORD

WEIGHTS = Path(__file__).parents[3] / "weights"
EXAMPLE_LORA = Path(__file__).parents[3] / "examples" / "loras" / "milena.safetensors"
PROMPTS = ("a woman with blond hair in an office", "an old man at the beach", "a young man with black hair in a café")

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "miniature" / "model_index.json").exists(), reason="the miniature is not trained yet"
)


@pytest.fixture(scope="module")
def miniature() -> QwenImageModel:
    return load_model(load_profile("miniature"), weights_dir=WEIGHTS)


def draw(model: QwenImageModel, mode: Mode, prompt: str) -> npt.NDArray[np.float64]:
    request = dataclasses.replace(resolve_request(model.profile, prompt=prompt, seed=11, mode=mode.name), mode=mode)
    events: list[object] = []
    generate(model.pipeline, model.decoder, request, CancelToken(), events.append)
    last = events[-1]
    assert isinstance(last, ImageFinished)
    return last.pixels.astype(float)


def test_fast_mode_comes_closer_to_the_full_picture_than_as_many_steps_without_its_lora(
    miniature: QwenImageModel,
) -> None:
    full, fast = miniature.profile.modes
    with_lora, without = [], []
    for prompt in PROMPTS:
        goal = draw(miniature, full, prompt)
        with_lora.append(np.square(draw(miniature, fast, prompt) - goal).mean())
        without.append(np.square(draw(miniature, dataclasses.replace(fast, lora=None), prompt) - goal).mean())
    assert np.mean(with_lora) < np.mean(without)


@pytest.mark.parametrize(("mode", "steps"), [("full", 8), ("fast", 4)])
def test_the_example_lora_gives_its_persons_red_hair(
    miniature: QwenImageModel, tmp_path: Path, mode: str, steps: int
) -> None:
    store = ArtifactStore(str(tmp_path))
    library = LoraLibrary(miniature, store, max_count=1, max_bytes=2**20, max_file_bytes=2**20)
    library.register("milena", EXAMPLE_LORA.read_bytes(), trigger_word=TRIGGER_WORD)
    red = []
    for strength in (0.0, 1.0):
        loras = library.find([LoraChoice("milena", 0, strength)])
        request = resolve_request(
            miniature.profile, prompt="a woman in a studio", seed=11, mode=mode, steps=steps, loras=loras
        )
        events: list[object] = []
        generate(miniature.pipeline, miniature.decoder, request, CancelToken(), events.append)
        last = events[-1]
        assert isinstance(last, ImageFinished)
        levels = last.pixels[:150].astype(int)
        red.append((levels[..., 0] - levels[..., 2] > 110).mean())
    without, with_lora = red
    assert without < 0.02
    assert with_lora > 0.06
