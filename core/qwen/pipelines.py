"""The pipelines of diffusers whose parts are worked with: from words alone, and from pictures and words."""

from __future__ import annotations

from typing import TypeAlias

from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline

Pipeline: TypeAlias = QwenImagePipeline | QwenImageEditPlusPipeline
"""The transformer, autoencoder, text encoder, tokenizer and scheduler of a checkpoint; an edit's also a processor."""
EDIT_PIPELINE = QwenImageEditPlusPipeline.__name__
"""The class of a checkpoint that edits pictures, as its ``model_index.json`` names it."""
DRAW_PIPELINE = QwenImagePipeline.__name__
"""The class of a checkpoint that draws from words."""
