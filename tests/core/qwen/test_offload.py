from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import QwenImagePipeline

from core.qwen.checkpoint import WeightsMissing
from core.qwen.loading import QwenImageModel, assemble, load_model
from core.qwen.memory import MemoryNeeds, choose_offload
from core.qwen.offload import Offload
from core.qwen.preflight import LoadingChoices, plan_loading
from core.qwen.profile import Precision
from tests.core.qwen.test_sampling import draw
from tests.support.checkpoint import checkpoint_profile

GIB = 2**30
CUDA = torch.device("cuda", 0)
NEEDS = MemoryNeeds(
    transformer=38 * GIB,
    block=GIB // 2,
    loras=5 * GIB,
    text_encoder=15 * GIB,
    vae=GIB,
    activations=6 * GIB,
)


def choose(
    free_gib: int,
    wanted: Offload | None = None,
    *,
    device: torch.device = CUDA,
    precision: Precision = "bfloat16",
    host_gib: int = 500,
) -> Offload:
    return choose_offload(NEEDS, wanted, device=device, precision=precision, free=free_gib * GIB, host=host_gib * GIB)


@pytest.mark.parametrize(
    ("free_gib", "expected"),
    [(66, Offload.NONE), (65, Offload.TEXT_ENCODER), (51, Offload.TEXT_ENCODER), (50, Offload.BLOCKS)],
)
def test_as_little_is_offloaded_as_the_card_allows(free_gib: int, expected: Offload) -> None:
    assert choose(free_gib) is expected


def test_a_choice_of_the_deployment_is_taken_when_it_fits() -> None:
    assert choose(80, Offload.BLOCKS) is Offload.BLOCKS
    with pytest.raises(WeightsMissing, match=r"40.0 GiB free.*66.0 GiB with offload 'none'"):
        choose(40, Offload.NONE)


def test_a_card_that_is_too_small_for_everything_says_what_each_way_takes() -> None:
    with pytest.raises(WeightsMissing, match=r"51.0 GiB with offload 'text_encoder', 10.0 GiB .*'blocks'.*float8"):
        choose(4)


def test_too_little_main_memory_is_named() -> None:
    with pytest.raises(WeightsMissing, match=r"keeps 15.0 GiB in the main memory, which has 8.0 GiB free"):
        choose(60, host_gib=8)


def test_blocks_do_not_go_with_float8_nor_any_offload_with_a_cpu() -> None:
    with pytest.raises(WeightsMissing, match="do not go together"):
        choose(80, Offload.BLOCKS, precision="float8")
    with pytest.raises(WeightsMissing, match="is for CUDA devices"):
        choose(80, Offload.TEXT_ENCODER, device=torch.device("cpu"))
    with pytest.raises(WeightsMissing, match=r"larger or emptier device$"):
        choose(20, precision="float8")


def test_unknown_free_memory_stops_nothing() -> None:
    assert choose_offload(NEEDS, None, device=CUDA, precision="bfloat16", free=None, host=None) is Offload.NONE


def test_blocks_that_come_and_go_draw_the_same_pictures(model: QwenImageModel, checkpoint: Path) -> None:
    profile = checkpoint_profile(checkpoint)
    plan = plan_loading(profile, weights_dir=checkpoint, choices=LoadingChoices())
    pipeline = QwenImagePipeline.from_pretrained(checkpoint, dtype=torch.float32)
    offloaded = assemble(profile, dataclasses.replace(plan, offload=Offload.BLOCKS), pipeline, revision="test")
    assert offloaded.description.offload == "blocks"
    # The mode's LoRA is written into the layers after they were put under the hooks: it must reach those that come.
    for changes in ({"mode": "fast"}, {"steps": 1}):
        assert np.array_equal(draw(offloaded, **changes)[0], draw(model, **changes)[0])


def test_nothing_is_offloaded_on_a_cpu(checkpoint: Path) -> None:
    assert load_model(checkpoint_profile(checkpoint), weights_dir=checkpoint).description.offload == "none"
