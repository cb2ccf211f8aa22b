"""Train the miniature's denoiser together with its text encoder: flow matching on the drawn pictures' latents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
from diffusers.models.transformers import transformer_qwenimage
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.corpus import ShapeGroup, shuffled_batches
from weights.recipe.learner import Learner
from weights.recipe.prompts import EMPTY_PROMPT, Tokens, embed, tokenize
from weights.recipe.sampling import Condition, pack, velocity
from weights.recipe.train_vae import encode, flatten_convolutions, restore_convolutions

LEARNING_RATE = 1.2e-3
WEIGHT_DECAY = 0.01
# Neighbouring latents are much alike (correlation 0.8), so a picture's layout still shows at noise level 0.9: what the
# words decide is decided above it. A first run with the usual centre of 0.3 spent 4 % of its draws there, and learned
# clean textures on melted faces.
SIGMA_MEAN = 1.4
SIGMA_SPREAD = 1.3
CAPTION_DROPOUT = 0.1
FACE_WEIGHT = 2.0
EMA_DECAY = 0.9995


@dataclass(frozen=True)
class CaptionGroup:
    """The captions of the pictures of one shape, on the training device.

    Attributes:
        tokens: rows of picture i at i·variants … (i + 1)·variants − 1.
        variants: captions a picture.
        shape: height and width of the latents.
    """

    tokens: Tokens
    variants: int
    shape: tuple[int, int]

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.tokens.ids) // self.variants


@dataclass(frozen=True)
class LatentGroup:
    """What the denoiser learns from, for one shape, on the training device.

    Attributes:
        captions: the pictures' captions.
        latents: bfloat16, N×16×h×w, normalised by channel.
        weights: bfloat16, N×L: the weight of each token in the loss, with mean 1.
    """

    captions: CaptionGroup
    latents: Tensor
    weights: Tensor


def initialise(pipeline: QwenImagePipeline) -> None:
    """Zero the modulations and the output, so that every block starts as the identity (DiT, arXiv 2212.09748)."""
    transformer = pipeline.transformer
    zeroed = [transformer.proj_out, transformer.norm_out.linear]
    for block in transformer.transformer_blocks:
        zeroed += [block.img_mod[1], block.txt_mod[1]]
    for layer in zeroed:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)


def compile_blocks(transformer: QwenImageTransformer2DModel) -> None:
    """Compile the transformer's blocks, with the rotation of queries and keys in real numbers.

    The compiler has no kernels for complex numbers; left alone, they cut every block into pieces.
    """
    torch._dynamo.config.cache_size_limit = 64
    transformer_qwenimage.apply_rotary_emb_qwen = rotate
    transformer.pos_embed.register_forward_hook(in_real_numbers)
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)


def in_real_numbers(_module: object, _arguments: object, frequencies: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give complex L×D/2 as real L×D/2×2."""
    return tuple(torch.view_as_real(f) if f.is_complex() else f for f in frequencies)


def rotate(x: Tensor, frequencies: Tensor, use_real: bool = False) -> Tensor:
    """Rotate N×L×heads×D by L×D/2×2 (cosine, sine), as ``apply_rotary_emb_qwen`` does by complex numbers."""
    cos, sin = frequencies[:, None].unbind(-1)
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(3).type_as(x)


def token_length(pipeline: QwenImagePipeline, groups: Sequence[ShapeGroup]) -> int:
    """Answer a length that holds the captions with their template, a multiple of eight."""
    captions = itertools.chain.from_iterable(itertools.chain.from_iterable(g.captions for g in groups))
    texts = [pipeline.prompt_template_encode.format(text) for text in itertools.islice(captions, 20_000)]
    longest = max(len(ids) for ids in pipeline.tokenizer(texts).input_ids)
    return math.ceil((longest + 2) / 8) * 8


def face_weights(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weight the tokens N×L whose centre lies in the face by ``FACE_WEIGHT``, with mean 1."""
    rows, columns = shape[0] // 2, shape[1] // 2
    y = (torch.arange(rows).view(1, rows, 1) + 0.5) / rows
    x = (torch.arange(columns).view(1, 1, columns) + 0.5) / columns
    x0, y0, x1, y1 = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    weights = (1 + (FACE_WEIGHT - 1) * inside.float()).flatten(1)
    return weights / weights.mean(1, keepdim=True)


def prepare_captions(pipeline: QwenImagePipeline, groups: Sequence[ShapeGroup], length: int) -> list[CaptionGroup]:
    """Tokenize the captions of every shape."""
    scale = pipeline.vae_scale_factor
    return [
        CaptionGroup(
            tokenize(pipeline, list(itertools.chain.from_iterable(group.captions)), length).to(parallel.device()),
            len(group.captions[0]),
            (group.size[0] // scale, group.size[1] // scale),
        )
        for group in groups
    ]


def prepare(pipeline: QwenImagePipeline, groups: Sequence[ShapeGroup], length: int) -> list[LatentGroup]:
    """Encode pictures and captions of every shape."""
    device = parallel.device()
    mean = torch.tensor(pipeline.vae.config.latents_mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(pipeline.vae.config.latents_std, device=device).view(1, -1, 1, 1)
    originals = flatten_convolutions(pipeline.vae)
    prepared = []
    for group, captions in zip(groups, prepare_captions(pipeline, groups, length), strict=True):
        latents = (encode(pipeline.vae, torch.from_numpy(group.pictures)) - mean) / std
        weights = face_weights(torch.from_numpy(group.face_boxes), captions.shape)
        prepared.append(LatentGroup(captions, latents.bfloat16(), weights.to(device, torch.bfloat16)))
    restore_convolutions(pipeline.vae, originals)
    return prepared


def train_denoiser(
    pipeline: QwenImagePipeline,
    groups: Sequence[LatentGroup],
    length: int,
    seconds: float,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> None:
    """Train transformer and text encoder in place; the averaged weights are kept."""
    device = parallel.device()
    torch.manual_seed(seed + parallel.rank())
    transformer, encoder = pipeline.transformer, pipeline.text_encoder
    transformer.to(device).train()
    encoder.to(device).train()
    encoder.model.visual.requires_grad_(False)
    trained = [*transformer.parameters(), *(p for p in encoder.parameters() if p.requires_grad)]
    learner = Learner(trained, beta2=0.98, weight_decay=WEIGHT_DECAY)
    compile_blocks(transformer)
    drop = pipeline.prompt_template_encode_start_idx
    empty = tokenize(pipeline, [EMPTY_PROMPT], length).to(device)
    generator = torch.Generator().manual_seed(seed + parallel.rank())
    sources = [shuffled_batches(len(g.latents), batch, generator) for g in groups]
    shares = torch.tensor([float(len(g.latents)) for g in groups])
    # All processes work on the same shape at the same time, so that none waits for another's compilation.
    shape_generator = torch.Generator().manual_seed(seed)
    budget = parallel.Budget(seconds, steps)
    step = 0
    running = torch.zeros((), device=device)
    while (spent := budget.fraction(step)) < 1:
        chosen = int(torch.multinomial(shares, 1, generator=shape_generator))
        group = groups[chosen]
        rows = next(sources[chosen]).to(device)
        x0 = pack(group.latents[rows].float())
        variants = group.captions.variants
        tokens = group.captions.tokens.take(rows * variants + torch.randint(variants, rows.shape, device=device))
        dropped = torch.rand(len(rows), 1, device=device) < CAPTION_DROPOUT
        tokens = Tokens(torch.where(dropped, empty.ids, tokens.ids), torch.where(dropped, empty.mask, tokens.mask))
        sigma = torch.sigmoid(SIGMA_SPREAD * torch.randn(len(rows), device=device) + SIGMA_MEAN)
        # A tenth of the draws is uniform: the logit-normal hardly visits the low end, where sampling ends.
        sigma = torch.where(torch.rand_like(sigma) < 0.1, torch.rand_like(sigma), sigma)
        noise = torch.randn_like(x0)
        noisy = x0 + sigma.view(-1, 1, 1) * (noise - x0)
        with torch.autocast(device.type, torch.bfloat16):
            condition = Condition(*embed(encoder, tokens, drop))
            predicted = velocity(transformer, noisy, sigma, condition, group.captions.shape)
        error = (predicted.float() - (noise - x0)).pow(2).mean(-1)
        loss = (error * group.weights[rows].float()).mean()
        learner.step(
            loss,
            rate=rate * min(1.0, (step + 1) / 300) * max(0.02, 1 - spent),
            average=max(1 - EMA_DECAY, 1 / (step + 10)),
        )
        running.lerp_(loss.detach(), 0.02 if step else 1.0)
        if step % 500 == 0 and parallel.rank() == 0:
            print(f"denoiser step {step} spent {spent:.2f} loss {float(running):.4f}", flush=True)
        step += 1
    learner.keep_average()
    for module in (transformer, encoder):
        module.eval().requires_grad_(False)
