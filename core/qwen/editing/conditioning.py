"""From an edit's pictures and words to what the transformer is conditioned on."""

from __future__ import annotations

import torch
from PIL import Image as PillowImage

from core.qwen.conditioning import Conditioning
from core.qwen.denoising import PictureLatents
from core.qwen.editing.pictures import encode_latents
from core.qwen.editing.request import EditRequest
from core.qwen.editing.words import encode_instruction
from core.qwen.pipelines import Pipeline
from core.qwen.request import GenerationRequest
from core.qwen.vae import FrameEncoder

_PIXELS_PER_TOKEN_SIDE = 16


class PictureConditioner:
    """What the transformer is conditioned on in an edit: words with pictures, and the pictures' latents."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Copy from the pipeline's autoencoder, on its device, what single pictures need."""
        self._encoder = FrameEncoder(pipeline.vae)

    def __call__(self, pipeline: Pipeline, request: GenerationRequest) -> Conditioning:
        """Encode an edit for the same ``pipeline``. Raises TypeError for a request that is no `EditRequest`."""
        if not isinstance(request, EditRequest):
            raise TypeError("an edit model draws from pictures: hand in an EditRequest")
        seen = [
            pipeline.image_processor.resize(PillowImage.fromarray(item.rgb), item.vision.height, item.vision.width)
            for item in request.pictures
        ]
        positive = encode_instruction(pipeline, request.prompt, seen)
        return Conditioning(
            positive=positive,
            negative=encode_instruction(pipeline, request.negative_prompt, seen) if request.guided else None,
            pictures=_latents(pipeline, self._encoder, request, positive.states.dtype),
        )


def _latents(pipeline: Pipeline, encoder: FrameEncoder, request: EditRequest, dtype: torch.dtype) -> PictureLatents:
    tokens = [encode_latents(pipeline, encoder, item.rgb, item.latent, dtype) for item in request.pictures]
    shapes = tuple(
        (1, item.latent.height // _PIXELS_PER_TOKEN_SIDE, item.latent.width // _PIXELS_PER_TOKEN_SIDE)
        for item in request.pictures
    )
    # With a mask or from less than full noise the first picture has the result's size.
    source = tokens[0] if request.begins_at < 1 or request.mask is not None else None
    free = None
    if request.mask is not None:
        free = request.mask.free_latents(request.size, pipeline.transformer.config.in_channels // 4)
    return PictureLatents(references=torch.cat(tokens, dim=1), shapes=shapes, source=source, free=free)
