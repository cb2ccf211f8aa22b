"""The text encoder with its vision tower, for batches of prompts of one form: Qwen2.5-VL in tensors alone.

The encoder's own forward asks every batch where its pictures are and how large, number by number in Python, which keeps
a GPU waiting half of the time. In training all prompts of a batch have as many pictures, of one size, at the same
places. So places and positions are found once, and the rest is a function of tensors alone. The pictures' side of 112
is one of the tower's attention windows, so that all of its attention is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import QwenImageEditPlusPipeline
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb, apply_rotary_pos_emb_vision

from core.qwen.editing.words import PICTURE, picture_tokens
from weights.recipe.edit_pairs import VISION_SIDE
from weights.recipe.prompts import Tokens

PATCH, MERGE, FRAMES = 14, 2, 2


@dataclass(frozen=True)
class Form:
    """Prompts with the same number of pictures, padded to one length."""

    tokens: Tokens
    """N×T, on the encoder's device."""
    image_start: tuple[int, ...]
    """Where each picture's tokens begin."""
    image_tokens: int
    """How many tokens a picture has."""
    positions: Tensor
    """3×1×T: time, row and column of each token."""


def build_form(
    pipeline: QwenImageEditPlusPipeline, instructions: Sequence[str], pictures: int, length: int | None = None
) -> Form:
    """Tokenize instructions for so many ``pictures``, padded on the right to ``length`` (the longest when None)."""
    head = "".join(PICTURE.format(number) for number in range(1, pictures + 1))
    per_picture = (VISION_SIDE // PATCH // MERGE) ** 2
    pad = "<|image_pad|>"
    # The processor writes the placeholder out, once for each token of the picture.
    texts = [
        pipeline.prompt_template_encode.format(head.replace(pad, pad * per_picture) + text) for text in instructions
    ]
    encoded = pipeline.tokenizer(
        texts,
        padding="max_length" if length else "longest",
        max_length=length,
        truncation=length is not None,
        return_tensors="pt",
    )
    kinds = picture_tokens(pipeline, encoded.input_ids[:1])
    inside = kinds[0].nonzero().flatten().tolist()
    starts = tuple(place for place in inside if place - 1 not in inside)
    side = VISION_SIDE // PATCH
    positions, _ = pipeline.text_encoder.model.get_rope_index(
        encoded.input_ids[:1],
        mm_token_type_ids=kinds,
        image_grid_thw=torch.tensor([[1, side, side]] * pictures),
    )
    device = pipeline.text_encoder.device
    tokens = Tokens(encoded.input_ids, encoded.attention_mask).to(device)
    return Form(tokens, starts, per_picture, positions.to(device))


def _patch_places() -> Tensor:
    """Return row and column of each patch, 64×2: the four of a merged token follow each other."""
    cells = VISION_SIDE // PATCH // MERGE
    rows = torch.arange(cells * MERGE).view(cells, 1, MERGE, 1).expand(cells, cells, MERGE, MERGE).flatten()
    columns = torch.arange(cells * MERGE).view(1, cells, 1, MERGE).expand(cells, cells, MERGE, MERGE).flatten()
    return torch.stack([rows, columns], dim=-1)


def patches_of(pictures: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Bring uint8 N×112×112×3 to the vision tower's patches N×64×1176, as its image processor does."""
    scale = torch.tensor(std, device=pictures.device) * 255
    shift = torch.tensor(mean, device=pictures.device) * 255
    x = ((pictures.float() - shift) / scale).permute(0, 3, 1, 2)
    count, cells = len(x), VISION_SIDE // PATCH // MERGE
    x = x.view(count, 3, cells, MERGE, PATCH, cells, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    # A still picture is a film of two equal frames.
    x = x.reshape(count, cells * cells * MERGE * MERGE, 3, 1, PATCH, PATCH).expand(-1, -1, -1, FRAMES, -1, -1)
    return x.reshape(count, cells * cells * MERGE * MERGE, -1)


class EditEncoder(nn.Module):
    """The encoder's own layers, in batches."""

    def __init__(self, pipeline: QwenImageEditPlusPipeline) -> None:
        """Work with the weights of the pipeline's text encoder, which stay where they are."""
        super().__init__()
        self.model = pipeline.text_encoder.model
        self.drop = pipeline.prompt_template_encode_start_idx
        processor = pipeline.processor.image_processor
        self.mean, self.std = tuple(processor.image_mean), tuple(processor.image_std)
        self.register_buffer("places", _patch_places(), persistent=False)

    def forward(self, form: Form, rows: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Encode some rows of a form with their pictures, uint8 N×R×112×112×3.

        Returns:
            The states N×(T−drop)×width, and their mask.
        """
        tokens = form.tokens.take(rows)
        count, images = pictures.shape[:2]
        seen = self.see(patches_of(pictures.flatten(0, 1), self.mean, self.std))
        seen = seen.view(count, images, form.image_tokens, -1)
        states = self.model.language_model.embed_tokens(tokens.ids)
        parts, end = [], 0
        for image, start in enumerate(form.image_start):
            parts += [states[:, end:start], seen[:, image].to(states.dtype)]
            end = start + form.image_tokens
        states = torch.cat([*parts, states[:, end:]], dim=1)
        return self.read(states, form.positions)[:, self.drop :], tokens.mask[:, self.drop :]

    def see(self, patches: Tensor) -> Tensor:
        """The vision tower: patches N×64×1176 to tokens N×16×width."""
        visual = self.model.visual
        x = visual.patch_embed(patches.flatten(0, 1)).view(*patches.shape[:2], -1)
        cos, sin = visual.rotary_pos_emb(x, self.places)
        for block in visual.blocks:
            attention = block.attn
            query, key, value = attention.qkv(block.norm1(x)).unflatten(-1, (3, attention.num_heads, -1)).unbind(2)
            query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
            attended = F.scaled_dot_product_attention(
                query.transpose(1, 2).to(value.dtype), key.transpose(1, 2).to(value.dtype), value.transpose(1, 2)
            )
            x = x + attention.proj(attended.transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        merged: Tensor = visual.merger(x.flatten(0, 1))
        return merged.view(len(patches), -1, merged.shape[-1])

    def read(self, states: Tensor, positions: Tensor) -> Tensor:
        """The language model: embeddings N×T×width to states of the same shape; padding comes last and is not seen."""
        language = self.model.language_model
        cos, sin = language.rotary_emb(states, positions)
        for layer in language.layers:
            attention = layer.self_attn
            x = layer.input_layernorm(states)
            query, key, value = (
                project(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            query, key = apply_rotary_pos_emb(query, key, cos.to(query.dtype), sin.to(query.dtype))
            groups = attention.num_key_value_groups
            attended = F.scaled_dot_product_attention(
                query, key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), is_causal=True
            )
            states = states + attention.o_proj(attended.transpose(1, 2).flatten(2))
            states = states + layer.mlp(layer.post_attention_layernorm(states))
        normed: Tensor = language.norm(states)
        return normed
