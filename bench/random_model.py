"""Qwen-Image with random weights, made on the device: of full size, or small enough for a test.

Every part is the class that Qwen-Image-2512 names, with its configuration; the numbers mean nothing. The tokenizer is
the miniature's, as a vocabulary can't be made up: its ids are a few of the full-size encoder's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from weights.recipe.architecture import SPECIAL_TOKENS, build_processor, build_scheduler, build_text_encoder

TOKENIZER = Path(__file__).resolve().parents[1] / "weights" / "miniature" / "tokenizer"
LIGHTNING_RANK = 64
ATTENTION = tuple(
    f"attn.{name}"
    for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
)
MLP = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
MODULATION = ("img_mod.1", "txt_mod.1")


@dataclass(frozen=True)
class Architecture:
    """The sizes that differ between the full model and a small one."""

    transformer: dict[str, Any]
    """Arguments of ``QwenImageTransformer2DModel``."""
    text_encoder: Qwen2_5_VLConfig | None
    """None takes the miniature's encoder."""
    vae: dict[str, Any]
    """Arguments of ``AutoencoderKLQwenImage``."""
    dtype: torch.dtype


def full_architecture() -> Architecture:
    """Return Qwen-Image-2512's: 20.4 billion parameters, with Qwen2.5-VL-7B as its text encoder."""
    text_encoder = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 128_000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
            "tie_word_embeddings": False,
        },
        vision_config={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        tie_word_embeddings=False,
    )
    # The transformer's and the autoencoder's defaults are the released ones, but for the channels of a patch.
    return Architecture({"out_channels": 16}, text_encoder, {}, torch.bfloat16)


def tiny_architecture() -> Architecture:
    """Return one of two blocks, for tests."""
    transformer = {
        "num_layers": 2,
        "num_attention_heads": 3,
        "attention_head_dim": 64,
        "joint_attention_dim": 192,
        "axes_dims_rope": (16, 24, 24),
    }
    return Architecture(transformer, None, {"base_dim": 16, "num_res_blocks": 1}, torch.float32)


def build_pipeline(architecture: Architecture, device: torch.device) -> QwenImagePipeline:
    """Make the whole pipeline on ``device``, with the initial weights that its classes give themselves."""
    tokenizer = Qwen2Tokenizer.from_pretrained(TOKENIZER)
    with _default(architecture.dtype, device):
        if architecture.text_encoder is None:
            text_encoder = build_text_encoder(tokenizer)
        else:
            text_encoder = Qwen2_5_VLForConditionalGeneration(architecture.text_encoder)
        return QwenImagePipeline(
            scheduler=build_scheduler(),
            vae=AutoencoderKLQwenImage(**architecture.vae),
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=QwenImageTransformer2DModel(**architecture.transformer),
        )


def build_edit_pipeline(architecture: Architecture, device: torch.device) -> QwenImageEditPlusPipeline:
    """Make the pipeline of Qwen-Image-Edit-2511 on ``device``: the same parts, with ``zero_cond_t`` and a processor."""
    transformer = {**architecture.transformer, "zero_cond_t": True}
    parts = build_pipeline(dataclasses.replace(architecture, transformer=transformer), device)
    # Pictures are found by the placeholders' ids, which are those of the small vocabulary.
    ids = {token: parts.tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = parts.text_encoder.config
    config.image_token_id, config.video_token_id = ids["<|image_pad|>"], ids["<|video_pad|>"]
    config.vision_start_token_id, config.vision_end_token_id = ids["<|vision_start|>"], ids["<|vision_end|>"]
    return QwenImageEditPlusPipeline(
        scheduler=parts.scheduler,
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        processor=build_processor(parts.tokenizer),
        transformer=parts.transformer,
    )


def build_transformer(architecture: Architecture, device: torch.device) -> QwenImageTransformer2DModel:
    """Make the transformer alone on ``device``, with the initial weights that its class gives itself."""
    with _default(architecture.dtype, device):
        return QwenImageTransformer2DModel(**architecture.transformer)


def write_lora(
    transformer: QwenImageTransformer2DModel, file: Path, *, rank: int, layers: tuple[str, ...], seed: int
) -> Path:
    """Write a random LoRA of Lightning's form (``lora_down``, ``lora_up``, ``alpha``) for ``layers`` of every block.

    Its updates are small beside the weights, and large enough to be seen in a picture.
    """
    device, dtype = transformer.device, transformer.dtype
    generator = torch.Generator(device).manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for index, block in enumerate(transformer.transformer_blocks):
        for layer in layers:
            linear = block.get_submodule(layer)
            key = f"transformer_blocks.{index}.{layer}"
            down = torch.randn(rank, linear.in_features, generator=generator, device=device) * 0.05
            up = torch.randn(linear.out_features, rank, generator=generator, device=device) * 0.05
            tensors[f"{key}.lora_down.weight"] = down.to("cpu", dtype)
            tensors[f"{key}.lora_up.weight"] = up.to("cpu", dtype)
            tensors[f"{key}.alpha"] = torch.tensor(float(rank), dtype=dtype)
    save_file(tensors, file)
    return file


@contextmanager
def _default(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Make what is built inside the block directly in ``dtype`` on ``device``: no copy in the main memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    try:
        with torch.device(device), torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)
