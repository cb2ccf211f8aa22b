"""Captions to token ids and text embeddings, exactly as ``QwenImagePipeline`` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import QwenImagePipeline
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

EMPTY_PROMPT = " "


@dataclass(frozen=True)
class Tokens:
    """Token ids N×T (int64, padded on the right) and mask N×T (1 = a token)."""

    ids: Tensor
    mask: Tensor

    def take(self, rows: Tensor) -> Tokens:
        """Answer some rows."""
        return Tokens(self.ids[rows], self.mask[rows])

    def to(self, device: torch.device) -> Tokens:
        """Move both to a device."""
        return Tokens(self.ids.to(device), self.mask.to(device))


def tokenize(pipeline: QwenImagePipeline, captions: Sequence[str], length: int | None = None) -> Tokens:
    """Wrap captions into the pipeline's template and pad them to one length (the longest, when none is given)."""
    texts = [pipeline.prompt_template_encode.format(caption) for caption in captions]
    encoded = pipeline.tokenizer(
        texts,
        padding="max_length" if length else "longest",
        max_length=length,
        truncation=length is not None,
        return_tensors="pt",
    )
    return Tokens(encoded.input_ids, encoded.attention_mask)


def embed(encoder: Qwen2_5_VLForConditionalGeneration, tokens: Tokens, drop: int) -> tuple[Tensor, Tensor]:
    """Answer the embeddings N×(T−drop)×width and their mask, without the template's first ``drop`` tokens."""
    count, length = tokens.ids.shape
    positions = torch.arange(length, device=tokens.ids.device).expand(3, count, length)
    hidden = encoder.model.language_model(
        input_ids=tokens.ids, attention_mask=tokens.mask, position_ids=positions
    ).last_hidden_state
    return hidden[:, drop:], tokens.mask[:, drop:]
