from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline
from PIL import Image

from core.qwen.editing.words import encode_instruction
from core.qwen.loading import load_model
from core.qwen.profile import WeightsSource, load_profile
from weights.recipe import edit_pairs, train_edit
from weights.recipe.architecture import build_edit_pipeline, build_pipeline, save
from weights.recipe.captions import sample_captions
from weights.recipe.edit_encoder import VISION_SIDE, EditEncoder, build_form, patches_of

TEXTS = ("The person of Picture 1 on the beach", "Change nothing")


@pytest.fixture(scope="module")
def pipeline() -> QwenImageEditPlusPipeline:
    torch.set_num_threads(1)
    return build_edit_pipeline(0, sample_captions(200, seed=1))


def small_pictures(count: int, images: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, images, VISION_SIDE, VISION_SIDE, 3), generator=generator, dtype=torch.uint8)


def test_patches_are_those_of_the_image_processor(pipeline: QwenImageEditPlusPipeline) -> None:
    picture = small_pictures(1, 1)[0]
    processor = pipeline.processor.image_processor
    theirs = processor(images=[Image.fromarray(picture[0].numpy())], return_tensors="pt").pixel_values
    ours = patches_of(picture, processor.image_mean, processor.image_std)[0]
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("images", [1, 2])
def test_the_batched_encoder_computes_what_the_service_computes(
    pipeline: QwenImageEditPlusPipeline, images: int
) -> None:
    pictures = small_pictures(len(TEXTS), images)
    form = build_form(pipeline, TEXTS, images)
    with torch.no_grad():
        states, mask = EditEncoder(pipeline)(form, torch.arange(len(TEXTS)), pictures)
        for row, text in enumerate(TEXTS):
            seen = [Image.fromarray(picture.numpy()) for picture in pictures[row]]
            alone = encode_instruction(pipeline, text, seen).states[0]
            length = int(mask[row].sum())
            assert length == len(alone)
            assert torch.allclose(states[row, :length], alone, atol=1e-4)


def test_a_pair_depends_on_its_number_alone() -> None:
    one, other = (edit_pairs.sample_pair(3, 5, (64, 64)) for _ in range(2))
    assert np.array_equal(one.target, other.target)
    assert one.instructions == other.instructions


def test_pairs_keep_the_person_and_change_what_they_say() -> None:
    pairs = [edit_pairs.sample_pair(7, index, (64, 64)) for index in range(40)]
    kinds = {pair.kind for pair in pairs}
    assert kinds == {*edit_pairs.KINDS, "together"}
    for pair in pairs:
        same = np.array_equal(pair.references[0], pair.target)
        assert same == (pair.kind == "nothing") or pair.kind == "clothes"
        assert len(pair.references) == len(pair.persons) == (2 if pair.kind == "together" else 1)
        assert all(0 < box[2] - box[0] < 1 for box in pair.face_boxes[: len(pair.persons)])


def test_shards_are_written_by_the_number_of_pictures(tmp_path: Path) -> None:
    edit_pairs.main(["--out", str(tmp_path), "--count", "8", "--size", "64"])
    files = sorted(tmp_path.glob("*.npz"))
    total = 0
    for file in files:
        data = np.load(file)
        rows = file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
        assert len(data["targets"]) == len(data["references"]) == len(rows)
        assert data["references"].shape[1] == (1 if file.name.startswith("one") else 2)
        total += len(rows)
    assert total == 8


def test_training_goes_on_from_a_generator_and_writes_what_the_service_loads(tmp_path: Path) -> None:
    generator, data, work, out = (tmp_path / name for name in ("generator", "data", "work", "out"))
    save(build_pipeline(0, sample_captions(200, seed=1)), generator)
    edit_pairs.main(["--out", str(data), "--count", "12", "--size", "64"])
    train_edit.main(
        ["train", "--data", str(data), "--from", str(generator), "--work", str(work), "--steps", "4", "--batch", "2"]
    )
    train_edit.main(["export", "--work", str(work), "--out", str(out)])
    trained = QwenImageEditPlusPipeline.from_pretrained(out, dtype=torch.float32)
    before = QwenImagePipeline.from_pretrained(generator, dtype=torch.float32)
    assert trained.transformer.zero_cond_t
    weight = "transformer_blocks.0.attn.to_q.weight"
    assert not torch.equal(trained.transformer.state_dict()[weight], before.transformer.state_dict()[weight])
    assert torch.equal(
        trained.vae.state_dict()["decoder.conv_in.weight"], before.vae.state_dict()["decoder.conv_in.weight"]
    )
    profile = load_profile("miniature-edit")
    modes = tuple(dataclasses.replace(mode, lora=None) for mode in profile.modes)
    profile = dataclasses.replace(profile, modes=modes, weights=WeightsSource(name="t", folder=str(out)))
    assert load_model(profile, weights_dir=tmp_path).profile.editing is not None


def test_the_velocity_of_an_edit_sees_its_references(pipeline: QwenImageEditPlusPipeline) -> None:
    torch.manual_seed(0)
    states, mask = torch.randn(2, 5, 192), torch.ones(2, 5)
    x, sigma = torch.randn(2, 16, 64), torch.full((2,), 0.5)
    with torch.no_grad():
        one, other = (
            train_edit.edit_velocity(pipeline.transformer, x, torch.randn(2, 1, 16, 8, 8), sigma, states, mask, (8, 8))
            for _ in range(2)
        )
    assert one.shape == x.shape
    assert not torch.allclose(one, other)
