from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from core.qwen.caching import step_cache
from core.qwen.compiling import compile_blocks, count_graphs
from core.qwen.loading import QwenImageModel, load_model
from core.qwen.profile import load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import ImageFinished, generate
from core.qwen.step_caches import FirstBlockCache, StepCache, TaylorSeerCache
from core.runtime.cancellation import CancelToken
from core.runtime.profiles import ProfileError
from tests.support.checkpoint import checkpoint_profile, write_profile

STEPS = 12
EAGER = FirstBlockCache(threshold=0.9)
CACHES = [EAGER, TaylorSeerCache(interval=3, first_steps=3)]


def draw(
    model: QwenImageModel, cache: StepCache | None, *, mode: str = "full", side: int = 160
) -> npt.NDArray[np.uint8]:
    modes = tuple(dataclasses.replace(found, step_cache=cache) for found in model.profile.modes)
    request = resolve_request(
        dataclasses.replace(model.profile, modes=modes),
        prompt="a professional woman in a modern office",
        negative_prompt=None if mode == "fast" else "a hat",
        seed=7,
        mode=mode,
        width=side,
        height=side,
        steps=None if mode == "fast" else STEPS,
    )
    pictures: list[npt.NDArray[np.uint8]] = []

    def emit(event: object) -> None:
        if isinstance(event, ImageFinished):
            pictures.append(event.pixels)

    generate(model.pipeline, model.decoder, request, CancelToken(), emit)
    return pictures[0]


@pytest.fixture
def attended(model: QwenImageModel) -> Iterator[list[None]]:
    """One entry for every attention of the last block."""
    calls: list[None] = []
    block = model.pipeline.transformer.transformer_blocks[-1]
    hook = block.img_mlp.register_forward_hook(lambda *_: calls.append(None))
    yield calls
    hook.remove()


def test_a_first_block_that_changes_little_spares_the_other_blocks(model: QwenImageModel, attended: list[None]) -> None:
    draw(model, None)
    assert len(attended) == 2 * STEPS
    attended.clear()
    draw(model, EAGER)
    assert 2 <= len(attended) < 2 * STEPS


def test_taylor_seer_attends_in_every_third_step_only(model: QwenImageModel) -> None:
    attentions: list[None] = []
    to_q = model.pipeline.transformer.transformer_blocks[0].attn.to_q
    hook = to_q.register_forward_hook(lambda *_: attentions.append(None))
    try:
        draw(model, TaylorSeerCache(interval=3, first_steps=3))
    finally:
        hook.remove()
    # Steps 0, 1, 2 at the start, and then 4, 7 and 10, for both branches.
    assert len(attentions) == 2 * 6


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache.kind)
def test_a_cache_keeps_nothing_of_a_picture_for_the_next(model: QwenImageModel, cache: StepCache) -> None:
    exact, cached = draw(model, None), draw(model, cache)
    assert not np.array_equal(exact, cached)
    draw(model, cache, side=192)
    draw(model, cache, mode="fast")
    assert np.array_equal(draw(model, cache), cached)
    assert np.array_equal(draw(model, None), exact)


def test_a_threshold_that_nothing_stays_under_draws_the_exact_picture(model: QwenImageModel) -> None:
    assert np.array_equal(draw(model, FirstBlockCache(threshold=1e-9)), draw(model, None))


def test_the_cache_is_gone_after_an_error(model: QwenImageModel) -> None:
    transformer = model.pipeline.transformer
    with pytest.raises(RuntimeError, match="stopped"), step_cache(EAGER, transformer, transformer):
        assert transformer.is_cache_enabled
        raise RuntimeError("stopped")
    assert not transformer.is_cache_enabled


def test_compiled_blocks_are_cached_as_others_are_and_compile_nothing_more(checkpoint: Path) -> None:
    model = load_model(checkpoint_profile(checkpoint), weights_dir=checkpoint)
    plain = draw(model, EAGER)
    compile_blocks(model.pipeline.transformer, backend="eager")
    draw(model, None)
    graphs = count_graphs()
    assert np.array_equal(draw(model, EAGER), plain)
    assert count_graphs() == graphs
    torch._dynamo.reset()


def test_a_profile_names_its_cache(checkpoint: Path, tmp_path: Path) -> None:
    file = write_profile(checkpoint, tmp_path / "cached.toml")
    text = file.read_text(encoding="utf-8")
    cached = text.replace(
        "adjustable = true", 'adjustable = true\nstep_cache = { kind = "first_block", threshold = 0.1 }'
    )
    file.write_text(cached, encoding="utf-8")
    cache = load_profile(str(file)).modes[0].step_cache
    assert cache is not None
    assert cache.label == "first_block(threshold=0.1)"
    file.write_text(cached.replace("first_block", "magic"), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"step_cache.*first_block"):
        load_profile(str(file))
