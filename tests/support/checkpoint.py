"""A checkpoint with the miniature's classes and random weights, for tests that need a model and not its quality."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from safetensors.torch import save_file

from core.qwen.profile import PROFILES_FOLDER, Profile, Size, WeightsSource, load_profile
from weights.recipe.architecture import build_edit_pipeline, build_pipeline, save

CAPTIONS = (
    "a professional woman in a modern office, long brown hair, green eyes, a blue shirt",
    "an old man with short gray hair and glasses in a café",
    "portrait of a young woman on the beach, black hair, a red top",
)
EDIT_CAPTION = "The person of Picture 1 in a modern office, the same face, hair, glasses and clothes"
LORA_TARGETS = ("attn.to_q", "attn.to_v", "attn.add_k_proj", "attn.to_out.0", "img_mlp.net.2")
LAYERS = 2


def build_checkpoint(folder: Path) -> Path:
    """Write a random checkpoint and its fast mode's LoRA to ``folder``, and return the folder."""
    pipeline = build_pipeline(0, list(CAPTIONS) * 50)
    pipeline.register_modules(
        transformer=QwenImageTransformer2DModel(
            num_layers=LAYERS,
            num_attention_heads=3,
            attention_head_dim=64,
            joint_attention_dim=pipeline.transformer.config.joint_attention_dim,
            axes_dims_rope=(16, 24, 24),
        )
    )
    save(pipeline, folder)
    save_file(random_lora(), folder / "fast_lora.safetensors")
    return folder


def build_edit_checkpoint(folder: Path) -> Path:
    """Write a random checkpoint that edits, and its fast mode's LoRA, to ``folder``, and return the folder."""
    pipeline = build_edit_pipeline(0, [*CAPTIONS, EDIT_CAPTION] * 50)
    pipeline.register_modules(
        transformer=QwenImageTransformer2DModel(
            num_layers=LAYERS,
            num_attention_heads=3,
            attention_head_dim=64,
            joint_attention_dim=pipeline.transformer.config.joint_attention_dim,
            axes_dims_rope=(16, 24, 24),
            zero_cond_t=True,
        )
    )
    save(pipeline, folder)
    save_file(random_lora(), folder / "fast_lora.safetensors")
    return folder


def random_lora(*, rank: int = 4, seed: int = 1, layers: int = LAYERS) -> dict[str, torch.Tensor]:
    """Make a LoRA in diffusers' own key format that visibly changes what the checkpoint draws."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(layers):
        for target in LORA_TARGETS:
            wide = 768 if target == "img_mlp.net.2" else 192
            key = f"transformer.transformer_blocks.{layer}.{target}"
            weights[f"{key}.lora_A.weight"] = torch.randn(rank, wide, generator=generator) * 0.2
            weights[f"{key}.lora_B.weight"] = torch.randn(192, rank, generator=generator) * 0.2
    return weights


def write_profile(checkpoint: Path, file: Path) -> Path:
    """Write the miniature's profile, over the folder ``checkpoint``, to ``file``, and return the file."""
    text = (PROFILES_FOLDER / "miniature.toml").read_text(encoding="utf-8")
    file.write_text(text.replace('folder = "miniature"', f'folder = "{checkpoint}"'), encoding="utf-8")
    return file


def edit_profile(checkpoint: Path) -> Profile:
    """The edit miniature's profile over the folder ``checkpoint``, in a quarter of its area: tests draw much."""
    profile = load_profile("miniature-edit")
    assert profile.editing is not None
    square = Size(width=128, height=128)
    return dataclasses.replace(
        profile,
        weights=WeightsSource(name="likeness/test-edit", folder=str(checkpoint)),
        sizes=dataclasses.replace(profile.sizes, min_pixels=6_400, by_aspect_ratio={"1:1": square}),
        editing=dataclasses.replace(profile.editing, latent_pixels=square.pixels),
    )


def checkpoint_profile(checkpoint: Path) -> Profile:
    """The miniature's profile, over the folder ``checkpoint``."""
    profile = load_profile("miniature")
    return dataclasses.replace(profile, weights=WeightsSource(name="likeness/test", folder=str(checkpoint)))
