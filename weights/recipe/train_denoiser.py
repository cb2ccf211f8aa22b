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
class LatentGroup:
    """What the denoiser learns from, for one shape, on the training device.

    Attributes:
        latents: bfloat16, N×16×h×w, normalised by channel.
        weights: bfloat16, N×L: the weight of each token in the loss; 1 outside the face.
        tokens: captions, rows of picture i at i·variants … (i + 1)·variants − 1.
        variants: captions a picture.
    """

    latents: Tensor
    weights: Tensor
    tokens: Tokens
    variants: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return int(self.latents.shape[2]), int(self.latents.shape[3])


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
    transformer_qwenimage.apply_rotary_emb_qwen = _rotate
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)


def _rotate(x: Tensor, frequencies: Tensor, use_real: bool = False) -> Tensor:
    """Rotate N×L×heads×D by complex L×D/2, as ``apply_rotary_emb_qwen`` does with ``use_real=False``."""
    parts = torch.view_as_real(frequencies)[:, None]
    cos, sin = parts[..., 0], parts[..., 1]
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


def prepare(pipeline: QwenImagePipeline, groups: Sequence[ShapeGroup], length: int) -> list[LatentGroup]:
    """Encode pictures and captions of every shape."""
    device = parallel.device()
    mean = torch.tensor(pipeline.vae.config.latents_mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(pipeline.vae.config.latents_std, device=device).view(1, -1, 1, 1)
    originals = flatten_convolutions(pipeline.vae)
    prepared = []
    for group in groups:
        variants = len(group.captions[0])
        latents = (encode(pipeline.vae, torch.from_numpy(group.pictures)) - mean) / std
        tokens = tokenize(pipeline, list(itertools.chain.from_iterable(group.captions)), length)
        shape = (int(latents.shape[2]), int(latents.shape[3]))
        weights = face_weights(torch.from_numpy(group.face_boxes), shape)
        prepared.append(
            LatentGroup(latents.bfloat16(), weights.to(device, torch.bfloat16), tokens.to(device), variants)
        )
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
    parallel.broadcast(p.data for p in trained)
    compile_blocks(transformer)
    optimizer = torch.optim.AdamW(trained, rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY, fused=True)
    averaged = [p.detach().clone() for p in trained]
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
        captions = rows * group.variants + torch.randint(group.variants, rows.shape, device=device)
        tokens = group.tokens.take(captions)
        dropped = torch.rand(len(rows), 1, device=device) < CAPTION_DROPOUT
        tokens = Tokens(torch.where(dropped, empty.ids, tokens.ids), torch.where(dropped, empty.mask, tokens.mask))
        sigma = torch.sigmoid(SIGMA_SPREAD * torch.randn(len(rows), device=device) + SIGMA_MEAN)
        # A tenth of the draws is uniform: the logit-normal hardly visits the low end, where sampling ends.
        sigma = torch.where(torch.rand_like(sigma) < 0.1, torch.rand_like(sigma), sigma)
        noise = torch.randn_like(x0)
        noisy = x0 + sigma.view(-1, 1, 1) * (noise - x0)
        for parameters in optimizer.param_groups:
            parameters["lr"] = rate * min(1.0, (step + 1) / 300) * max(0.02, 1 - spent)
        with torch.autocast(device.type, torch.bfloat16):
            condition = Condition(*embed(encoder, tokens, drop))
            predicted = velocity(transformer, noisy, sigma, condition, group.shape)
        error = (predicted.float() - (noise - x0)).pow(2).mean(-1)
        loss = (error * group.weights[rows].float()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        torch._foreach_lerp_(averaged, [p.detach() for p in trained], max(1 - EMA_DECAY, 1 / (step + 10)))
        running.lerp_(loss.detach(), 0.02 if step else 1.0)
        if step % 500 == 0 and parallel.rank() == 0:
            print(f"denoiser step {step} spent {spent:.2f} loss {float(running):.4f}", flush=True)
        step += 1
    with torch.no_grad():
        for p, mean in zip(trained, averaged, strict=True):
            p.copy_(mean)
    for module in (transformer, encoder):
        module.eval().requires_grad_(False)
