"""The parts of the recipe that a wrong line would break without anybody noticing until the pictures are bad."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import QwenImagePipeline
from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen
from diffusers.pipelines.qwenimage import QwenImageEditPlusPipeline

from weights.recipe import draw
from weights.recipe.architecture import build_pipeline, build_vae, save
from weights.recipe.captions import sample_captions
from weights.recipe.corpus import load_groups, shuffled_batches
from weights.recipe.distil import FAST_STEPS, fast_scheduler
from weights.recipe.prompts import embed, tokenize
from weights.recipe.sampling import Condition, pack, sample, sigmas, unpack
from weights.recipe.train_denoiser import face_weights, in_real_numbers, rotate
from weights.recipe.train_vae import flatten_convolutions, restore_convolutions


@pytest.fixture(scope="module")
def pipeline() -> QwenImagePipeline:
    return build_pipeline(0, sample_captions(400, seed=1))


def test_planar_convolutions_encode_as_the_causal_ones_and_are_put_back_whole() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    pictures = torch.rand(1, 3, 1, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = vae.encode(pictures).latent_dist.mean
        originals = flatten_convolutions(vae)
        planar = vae.quant_conv(vae.encoder(pictures))[:, :16]
        restore_convolutions(vae, originals)
        restored = vae.encode(pictures).latent_dist.mean
    assert torch.allclose(planar, expected, atol=1e-5)
    assert torch.equal(restored, expected)


def test_rotation_in_real_numbers_equals_the_complex_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 64)
    frequencies = torch.polar(torch.ones(5, 32), torch.randn(5, 32))
    expected = apply_rotary_emb_qwen(x, frequencies, use_real=False)
    (real,) = in_real_numbers(None, (), (frequencies,))
    assert torch.allclose(rotate(x, real), expected, atol=1e-6)


def test_vocabulary_holds_the_templates_in_as_many_tokens_as_the_pipelines_drop(pipeline: QwenImagePipeline) -> None:
    head = pipeline.prompt_template_encode.split("{}")[0]
    assert len(pipeline.tokenizer(head).input_ids) == pipeline.prompt_template_encode_start_idx == 34
    edit = QwenImageEditPlusPipeline(pipeline.scheduler, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer, None,
                                     pipeline.transformer)  # fmt: skip
    head = edit.prompt_template_encode.split("{}")[0]
    assert len(pipeline.tokenizer(head).input_ids) == edit.prompt_template_encode_start_idx == 64


def test_padded_captions_are_embedded_as_the_pipeline_embeds_them_alone(pipeline: QwenImagePipeline) -> None:
    captions = ["a woman", "An old man with white hair and glasses on the beach."]
    with torch.no_grad():
        states, mask = embed(pipeline.text_encoder, tokenize(pipeline, captions), drop=34)
        for i, caption in enumerate(captions):
            expected, _ = pipeline.encode_prompt(caption)
            assert int(mask[i].sum()) == expected.shape[1]
            assert torch.allclose(states[i, : expected.shape[1]], expected[0], atol=1e-5)


def test_sampling_walks_as_the_pipeline_does(pipeline: QwenImagePipeline) -> None:
    noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = pipeline(
            "a woman",
            negative_prompt=" ",
            true_cfg_scale=3.0,
            num_inference_steps=3,
            height=64,
            width=64,
            latents=pack(noise),
            output_type="latent",
        ).images
        positive = Condition(*embed(pipeline.text_encoder, tokenize(pipeline, ["a woman"]), 34))
        negative = Condition(*embed(pipeline.text_encoder, tokenize(pipeline, [" "]), 34))
        levels = sigmas(pipeline.scheduler, 3, 16)
        end, (halfway,) = sample(
            pipeline.transformer, pack(noise), positive, negative, 3.0, levels, (8, 8), record=[0.5]
        )
    # The recipe computes in bfloat16.
    assert torch.allclose(end, expected, atol=0.05)
    assert halfway.shape == end.shape


def test_the_fast_modes_noise_levels_are_lightnings(pipeline: QwenImagePipeline) -> None:
    levels = sigmas(fast_scheduler(pipeline.scheduler), FAST_STEPS, 256)
    assert levels == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0], abs=1e-6)
    assert fast_scheduler(pipeline.scheduler).config.base_shift == pytest.approx(math.log(3))


def test_packing_and_unpacking_are_inverse() -> None:
    latents = torch.randn(2, 16, 12, 8)
    assert torch.equal(unpack(pack(latents), 12, 8), latents)


def test_drawn_shards_come_back_with_captions_and_faces(tmp_path: Path) -> None:
    draw.main(["--out", str(tmp_path / "part"), "--count", "6", "--size", "64", "--aspects", "0.5", "--seed", "4"])
    groups = load_groups(tmp_path)
    assert sum(len(g.pictures) for g in groups) == 6
    for group in groups:
        assert group.pictures.shape[1:] == (*group.size, 3)
        assert {len(captions) for captions in group.captions} == {draw.CAPTIONS}
        left, top, right, bottom = group.face_boxes.T
        assert np.all(left < right) and np.all(top < bottom) and np.all(right > 0) and np.all(left < 1)


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights\.recipe\.draw"):
        load_groups(tmp_path)


def test_every_picture_comes_once_an_epoch() -> None:
    batches = shuffled_batches(10, 4, torch.Generator().manual_seed(0))
    seen = torch.cat([next(batches) for _ in range(5)])
    assert torch.bincount(seen, minlength=10).tolist() == [2] * 10


def test_face_tokens_weigh_more_and_the_mean_is_one() -> None:
    weights = face_weights(torch.tensor([[0.25, 0.25, 0.75, 0.75]]), (16, 16)).view(8, 8)
    assert weights[4, 4] > weights[0, 0]
    assert float(weights.mean()) == pytest.approx(1.0)


def test_a_saved_pipeline_tells_nothing_of_where_it_lay(tmp_path: Path) -> None:
    built = build_pipeline(0, sample_captions(50, seed=1))
    built.save_pretrained(tmp_path / "first")
    save(QwenImagePipeline.from_pretrained(tmp_path / "first"), tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert "_name_or_path" not in content
        assert str(tmp_path) not in path.read_text(encoding="utf-8")
