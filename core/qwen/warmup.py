"""Drawing before the first request comes, so that it is as fast as the next."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from core.qwen.compiling import count_graphs
from core.qwen.conditioning import Conditioner, condition_on_words
from core.qwen.loading import QwenImageModel
from core.qwen.loras.adapter import Adapter, LoraFormat, LowRankUpdate
from core.qwen.loras.stack import LoraStack
from core.qwen.profile import Size, Sizes
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.sampling import generate
from core.qwen.text import encode_prompt
from core.runtime.cancellation import CancelToken

PROMPTS = ("a portrait", "a portrait of a person in a city, by the light of a late afternoon")
"""Two lengths of a prompt."""


def warm_up(model: QwenImageModel) -> int:
    """Draw one picture in every mode; compiled blocks also draw every size and every width of LoRAs. Blocking.

    Returns:
        How many graphs were compiled, 0 where nothing is.
    """
    before = count_graphs()
    if model.description.compiled:
        _compile_shapes(model)
    for mode in model.profile.modes:
        request = resolve_request(
            model.profile, prompt=PROMPTS[0], seed=0, mode=mode.name, steps=1 if mode.adjustable else None
        )
        draw_unseen(model, request)
    return count_graphs() - before


def draw_unseen(model: QwenImageModel, request: GenerationRequest, condition: Conditioner = condition_on_words) -> None:
    """Draw pictures that nobody waits for; ``condition`` encodes the request. Blocking.

    Raises:
        NonFiniteResult: the latents or pixels hold NaN or infinity.
    """
    generate(
        model.pipeline,
        model.decoder,
        request,
        CancelToken(),
        lambda event: None,
        guidance_transformer=model.guidance_transformer,
        condition=condition,
    )


@torch.inference_mode()
def _compile_shapes(model: QwenImageModel) -> None:
    """Run the transformers once for each size, length of prompt and width of LoRAs, so that no request compiles."""
    texts = [encode_prompt(model.pipeline, prompt) for prompt in PROMPTS]
    channels = model.pipeline.transformer.config.in_channels
    patch = model.pipeline.vae_scale_factor * 2
    for transformer in model.transformers:
        for _ in _widths(transformer):
            for size in _sizes(model.profile.sizes):
                rows, columns = size.height // patch, size.width // patch
                for text in texts:
                    states = text.states.to(transformer.device)
                    with transformer.cache_context("warm-up"):
                        transformer(
                            hidden_states=states.new_zeros(1, rows * columns, channels),
                            timestep=states.new_ones(1),
                            encoder_hidden_states=states,
                            encoder_hidden_states_mask=None,
                            img_shapes=[[(1, rows, columns)]],
                            return_dict=False,
                        )


def _sizes(sizes: Sizes) -> list[Size]:
    """Return the named sizes, and beside a single one the smallest square: from one size a graph keeps its numbers."""
    named = dict.fromkeys(sizes.by_aspect_ratio.values())
    if len(named) == 1:
        side = math.ceil(math.sqrt(sizes.min_pixels) / sizes.multiple) * sizes.multiple
        if side * side <= sizes.max_pixels:
            named[Size(width=side, height=side)] = None
    return list(named)


def _widths(transformer: torch.nn.Module) -> Iterator[int]:
    """Let every number of LoRA rows act that can act, one after the other, with weights of zero."""
    stack = LoraStack.of(transformer)
    if stack is None:
        yield 0
        return
    name, (outputs, inputs) = next(iter(stack.shapes.items()))
    for width in (0, *stack.widths):
        update = LowRankUpdate(down=torch.zeros(width, inputs), up=torch.zeros(outputs, width), scale=0.0)
        adapter = Adapter(key=f"warm-up-{width}", format=LoraFormat.BARE, updates={name: update})
        stack.apply([(adapter, 1.0)] if width else [])
        yield width
    stack.apply([])
