"""The instruction of an edit: its template with the pictures, and what may not stand in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import QwenImageEditPlusPipeline
from PIL import Image as PillowImage

from core.qwen.text import TextEmbedding
from likeness.errors import InvalidRequest

PICTURE = "Picture {}: <|vision_start|><|image_pad|><|vision_end|>"
"""What stands in the prompt for a picture, as ``QwenImageEditPlusPipeline`` writes it."""
RESERVED = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>")
"""Tokens of the template: in a request's words they would stand for pictures that aren't there."""


def check_words(text: str, *, field: str) -> None:
    """Refuse words that hold a token of the template.

    Raises:
        InvalidRequest: naming ``field`` and the token.
    """
    for token in RESERVED:
        if token in text:
            raise InvalidRequest(f"{token} is the model's own and cannot stand in the words: leave it out", field=field)


def encode_instruction(
    pipeline: QwenImageEditPlusPipeline, instruction: str, pictures: Sequence[PillowImage.Image]
) -> TextEmbedding:
    """Encode an instruction with the pictures that the vision tower sees, in their order.

    Equal to ``QwenImageEditPlusPipeline.encode_prompt`` but for the tokens' positions. Since transformers 5 the encoder
    wants to be told which tokens are a picture's, to place them in rows and columns as it was trained; diffusers 0.42
    does not tell it, and the encoder takes them for words in a line (github.com/huggingface/diffusers/issues/14194).
    """
    head = "".join(PICTURE.format(number) for number in range(1, len(pictures) + 1))
    inputs = pipeline.processor(
        text=[pipeline.prompt_template_encode.format(head + instruction)],
        images=list(pictures),
        padding=True,
        return_tensors="pt",
    ).to(pipeline.text_encoder.device)
    output = pipeline.text_encoder.model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        pixel_values=inputs["pixel_values"],
        image_grid_thw=inputs["image_grid_thw"],
        mm_token_type_ids=picture_tokens(pipeline, inputs["input_ids"]),
    )
    states = output.last_hidden_state[:, pipeline.prompt_template_encode_start_idx :]
    return TextEmbedding(states=states.to(pipeline.text_encoder.dtype), mask=None)


def picture_tokens(pipeline: QwenImageEditPlusPipeline, input_ids: torch.Tensor) -> torch.Tensor:
    """Return 1 for each token of ``input_ids`` that is a picture's, 0 for words."""
    image_token: int = pipeline.text_encoder.config.image_token_id
    return (input_ids == image_token).to(torch.int32)
