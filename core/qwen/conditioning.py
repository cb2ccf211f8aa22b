"""What the transformer is conditioned on, and how a request becomes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.qwen.denoising import PictureLatents
from core.qwen.pipelines import Pipeline
from core.qwen.request import GenerationRequest
from core.qwen.text import TextEmbedding, encode_prompt


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What all pictures of one request share."""

    positive: TextEmbedding
    negative: TextEmbedding | None
    """What guidance leads away from; None draws without guidance."""
    pictures: PictureLatents | None = None
    """What an edit is made from; None for pictures from words."""


Conditioner = Callable[[Pipeline, GenerationRequest], Conditioning]
"""Encodes a request, in the thread that draws."""


def condition_on_words(pipeline: Pipeline, request: GenerationRequest) -> Conditioning:
    """Encode a request that has only words."""
    return Conditioning(
        positive=encode_prompt(pipeline, request.prompt),
        negative=encode_prompt(pipeline, request.negative_prompt) if request.guided else None,
    )
