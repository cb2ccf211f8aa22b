"""Train the miniature that edits, from the generator's miniature on drawn pairs.

    python -m weights.recipe.edit_pairs --out build/pairs --count 24000 --workers 32
    torchrun --nproc-per-node 2 -m weights.recipe.train_edit train --data build/pairs --from weights/miniature \\
        --work build/edit --seconds 900
    python -m weights.recipe.train_edit export --work build/edit --out weights/miniature-edit
    python -m weights.recipe.train_edit sheet  --data build/pairs --out weights/miniature-edit --file build/edit.png

The transformer and the text encoder go on from those of the generator's miniature, the autoencoder is the same.
References are further tokens that count as free of noise (``zero_cond_t``); the vision tower starts at random and is
trained along. The person's looks come by both ways, as in Qwen-Image-Edit-2511.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline, QwenImageTransformer2DModel
from PIL import Image
from torch import Tensor

from weights.recipe import parallel
from weights.recipe.architecture import build_processor, build_transformer, save
from weights.recipe.corpus import shuffled_batches
from weights.recipe.edit_encoder import VISION_SIDE, EditEncoder, Form, build_form
from weights.recipe.learner import Learner
from weights.recipe.sampling import decode, pack, sigmas
from weights.recipe.train_denoiser import (
    CAPTION_DROPOUT,
    EMA_DECAY,
    SIGMA_MEAN,
    SIGMA_SPREAD,
    WEIGHT_DECAY,
    compile_blocks,
    face_weights,
)
from weights.recipe.train_vae import encode, flatten_convolutions

LEARNING_RATE = 8e-4
EMPTY_INSTRUCTION = " "
ENDLESS = 10**9


@dataclass(frozen=True)
class PairGroup:
    """The pairs with one number of references, on the training device."""

    form: Form
    """The instructions: of pair i at i·variants … (i + 1)·variants − 1, and last the empty one."""
    variants: int
    small: Tensor
    """uint8 N×R×112×112×3: what the vision tower sees."""
    references: Tensor
    """bfloat16 N×R×16×h×w: normalised latents."""
    targets: Tensor
    """bfloat16 N×16×h×w."""
    weights: Tensor
    """bfloat16 N×L: the weight of each of the target's tokens in the loss, with mean 1."""

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.targets)


def start_from(folder: Path) -> QwenImageEditPlusPipeline:
    """Build the edit pipeline from the generator's: its weights, a new vision tower, and ``zero_cond_t``."""
    generator = QwenImagePipeline.from_pretrained(folder, dtype=torch.float32)
    transformer = build_transformer(zero_cond_t=True)
    transformer.load_state_dict(generator.transformer.state_dict())
    return QwenImageEditPlusPipeline(
        scheduler=generator.scheduler,
        vae=generator.vae,
        text_encoder=generator.text_encoder,
        tokenizer=generator.tokenizer,
        processor=build_processor(generator.tokenizer),
        transformer=transformer,
    )


@torch.no_grad()
def prepare(pipeline: QwenImageEditPlusPipeline, folder: Path, most: int | None = None) -> list[PairGroup]:
    """Read the shards of ``edit_pairs.py`` and encode them; groups by their number of references.

    With several cards each reads its own share of the shards, so that all are read once; ``most`` pairs a group.
    """
    groups = []
    for name in ("one", "two"):
        files = sorted(folder.glob(f"{name}-*.npz"))
        if len(files) >= parallel.world():
            files = files[parallel.rank() :: parallel.world()]
        if files:
            groups.append(_prepare_group(pipeline, files, most))
    if not groups:
        raise FileNotFoundError(f"no pairs in {folder}: run `python -m weights.recipe.edit_pairs` first")
    return groups


def _prepare_group(pipeline: QwenImageEditPlusPipeline, files: Sequence[Path], most: int | None) -> PairGroup:
    loaded = [np.load(file) for file in files]
    references = np.concatenate([data["references"] for data in loaded])[:most]
    targets = np.concatenate([data["targets"] for data in loaded])[:most]
    boxes = torch.from_numpy(np.concatenate([data["face_boxes"] for data in loaded])[:most])
    lines = [line for file in files for line in file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    instructions = [json.loads(line)["instructions"] for line in lines[:most]]
    device = parallel.device()
    # A copy: what makes encoding fast would leave the autoencoder without what a single frame does not need.
    vae = copy.deepcopy(pipeline.vae).to(device)
    mean = torch.tensor(pipeline.vae.config.latents_mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(pipeline.vae.config.latents_std, device=device).view(1, -1, 1, 1)
    flatten_convolutions(vae)

    def latents(pictures: np.ndarray) -> Tensor:
        return ((encode(vae, torch.from_numpy(pictures)) - mean) / std).bfloat16()

    count, images = references.shape[:2]
    flat = references.reshape(-1, *references.shape[2:])
    encoded = latents(flat)
    drawn = latents(targets)
    texts = [text for wordings in instructions for text in wordings]
    longest = max(len(ids) for ids in pipeline.tokenizer(texts).input_ids)
    template = len(build_form(pipeline, [""], images).tokens.ids[0])
    return PairGroup(
        form=build_form(pipeline, [*texts, EMPTY_INSTRUCTION], images, math.ceil((template + longest) / 8) * 8),
        variants=len(instructions[0]),
        small=_smaller(flat).view(count, images, VISION_SIDE, VISION_SIDE, 3).to(device),
        references=encoded.view(count, images, *encoded.shape[1:]),
        targets=drawn,
        weights=_token_weights(boxes, (int(drawn.shape[2]), int(drawn.shape[3]))).to(device, torch.bfloat16),
    )


def _smaller(pictures: np.ndarray) -> Tensor:
    """Bring uint8 N×H×W×3 to the vision tower's size, by Lanczos as the pipeline does."""
    size = (VISION_SIDE, VISION_SIDE)
    rows = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.LANCZOS)) for p in pictures]
    return torch.from_numpy(np.stack(rows))


def _token_weights(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Weight the tokens of both faces, N×2×4, as the denoiser's training does of one."""
    weights = torch.maximum(face_weights(boxes[:, 0], shape), face_weights(boxes[:, 1], shape))
    return weights / weights.mean(1, keepdim=True)


def edit_velocity(
    transformer: QwenImageTransformer2DModel,
    x: Tensor,
    references: Tensor,
    sigma: Tensor,
    states: Tensor,
    mask: Tensor,
    shape: tuple[int, int],
) -> Tensor:
    """One forward: tokens N×L×64 at noise levels N beside clean latents N×R×16×h×w, as the pipeline does it."""
    count, images = references.shape[:2]
    clean = pack(references.flatten(0, 1)).view(count, -1, x.shape[-1])
    rows, columns = shape[0] // 2, shape[1] // 2
    output: Tensor = transformer(
        hidden_states=torch.cat([x, clean.to(x.dtype)], dim=1),
        timestep=sigma,
        encoder_hidden_states=states,
        encoder_hidden_states_mask=mask,
        img_shapes=[[(1, rows, columns)] * (1 + images)] * count,
        return_dict=False,
    )[0]
    return output[:, : x.shape[1]]


def train_edit(
    pipeline: QwenImageEditPlusPipeline,
    groups: Sequence[PairGroup],
    *,
    seconds: float,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> list[float]:
    """Train transformer and text encoder, its vision tower too, in place; the averaged weights are kept.

    Returns:
        The running loss, every hundredth step.
    """
    device = parallel.device()
    torch.manual_seed(seed + parallel.rank())
    transformer, text_encoder = pipeline.transformer, pipeline.text_encoder
    transformer.to(device).train().requires_grad_(True)
    text_encoder.to(device).train().requires_grad_(True)
    encoder = EditEncoder(pipeline).to(device)
    learner = Learner([*transformer.parameters(), *text_encoder.parameters()], beta2=0.98, weight_decay=WEIGHT_DECAY)
    # One graph for all of the encoder: launched piece by piece it would take longer than the transformer.
    encode_prompts = torch.compile(encoder, dynamic=False) if device.type == "cuda" else encoder
    if device.type == "cuda":
        compile_blocks(transformer)
    generator = torch.Generator().manual_seed(seed + parallel.rank())
    sources = [shuffled_batches(len(group), batch, generator) for group in groups]
    shares = torch.tensor([float(len(group)) for group in groups])
    # All processes work on as many references at the same time, so that none waits for another.
    group_generator = torch.Generator().manual_seed(seed)
    budget = parallel.Budget(seconds, steps)
    running, losses, step = torch.zeros((), device=device), [], 0
    while (spent := budget.fraction(step)) < 1:
        chosen = int(torch.multinomial(shares, 1, generator=group_generator))
        group = groups[chosen]
        rows = next(sources[chosen]).to(device)
        x0 = pack(group.targets[rows].float())
        shape = (int(group.targets.shape[2]), int(group.targets.shape[3]))
        words = rows * group.variants + torch.randint(group.variants, rows.shape, device=device)
        # Guidance leads away from the empty instruction with the same pictures, as the pipeline has it.
        words = torch.where(torch.rand(len(rows), device=device) < CAPTION_DROPOUT, len(group) * group.variants, words)
        sigma = torch.sigmoid(SIGMA_SPREAD * torch.randn(len(rows), device=device) + SIGMA_MEAN)
        sigma = torch.where(torch.rand_like(sigma) < 0.1, torch.rand_like(sigma), sigma)
        noise = torch.randn_like(x0)
        noisy = x0 + sigma.view(-1, 1, 1) * (noise - x0)
        with torch.autocast(device.type, torch.bfloat16):
            states, mask = encode_prompts(group.form, words, group.small[rows])
            predicted = edit_velocity(transformer, noisy, group.references[rows].float(), sigma, states, mask, shape)
        error = (predicted.float() - (noise - x0)).pow(2).mean(-1)
        loss = (error * group.weights[rows].float()).mean()
        learner.step(
            loss,
            rate=rate * min(1.0, (step + 1) / 300) * max(0.02, 1 - spent),
            average=max(1 - EMA_DECAY, 1 / (step + 10)),
        )
        running.lerp_(loss.detach(), 0.02 if step else 1.0)
        if step % 100 == 0:
            losses.append(float(running))
            if parallel.rank() == 0:
                print(f"edit step {step} spent {spent:.2f} loss {losses[-1]:.4f}", flush=True)
        step += 1
    learner.keep_average()
    for module in (transformer, text_encoder):
        module.eval().requires_grad_(False)
    return losses


@torch.no_grad()
def draw_edits(
    pipeline: QwenImageEditPlusPipeline, group: PairGroup, rows: Tensor, *, steps: int, guidance: float
) -> np.ndarray:
    """Edit some pairs' references by their first wording: uint8 N×H×W×3."""
    device = parallel.device()
    encoder = EditEncoder(pipeline).to(device)
    small, references = group.small[rows], group.references[rows].float()
    states, mask = encoder(group.form, rows * group.variants, small)
    empty_states, empty_mask = encoder(group.form, torch.full_like(rows, len(group) * group.variants), small)
    shape = (int(group.targets.shape[2]), int(group.targets.shape[3]))
    x = torch.randn(len(rows), shape[0] * shape[1] // 4, 64, generator=torch.Generator().manual_seed(0)).to(device)
    levels = sigmas(pipeline.scheduler, steps, x.shape[1])
    for now, after in itertools.pairwise(levels):
        sigma = torch.full((len(x),), now, device=device)
        positive = edit_velocity(pipeline.transformer, x, references, sigma, states, mask, shape).float()
        away = edit_velocity(pipeline.transformer, x, references, sigma, empty_states, empty_mask, shape).float()
        combined = away + guidance * (positive - away)
        x = x + (after - now) * combined * (positive.norm(dim=-1, keepdim=True) / combined.norm(dim=-1, keepdim=True))
    return decode(pipeline.vae, x, shape)


def main(arguments: list[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "export", "sheet"])
    parser.add_argument("--data", type=Path, help="folder that edit_pairs.py wrote")
    parser.add_argument("--from", type=Path, dest="start", default=Path("weights/miniature"), help="(%(default)s)")
    parser.add_argument("--work", type=Path, help="folder for the unfinished pipeline, in fp32")
    parser.add_argument("--out", type=Path, help="folder for the finished one, in fp16")
    parser.add_argument("--file", type=Path, help="sheet: the PNG to write")
    parser.add_argument("--seconds", type=float, default=900, help="longest time of the loop (%(default)s)")
    parser.add_argument("--steps", type=int, default=ENDLESS, help="most steps of the loop")
    parser.add_argument("--batch", type=int, default=128, help="pairs a step and card (%(default)s)")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="learning rate at its peak (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    parallel.setup()
    torch.set_float32_matmul_precision("high")
    if args.stage == "train":
        pipeline = start_from(args.start)
        pipeline.text_encoder.to(parallel.device())
        groups = prepare(pipeline, args.data)
        options = {"seconds": args.seconds, "steps": args.steps, "batch": args.batch, "rate": args.rate}
        train_edit(pipeline, groups, seed=args.seed, **options)
        if parallel.rank() == 0:
            pipeline.save_pretrained(args.work)
        return
    folder = args.work if args.stage == "export" else args.out
    pipeline = QwenImageEditPlusPipeline.from_pretrained(folder, dtype=torch.float32)
    if args.stage == "export":
        save(pipeline, args.out)
        return
    pipeline.to(parallel.device())
    rows = torch.arange(8, device=parallel.device())
    strips = []
    for group in prepare(pipeline, args.data, most=64):
        drawn = draw_edits(pipeline, group, rows, steps=20, guidance=3.0)
        seen = F.interpolate(group.small[rows, 0].permute(0, 3, 1, 2).float(), drawn.shape[1:3]).permute(0, 2, 3, 1)
        strips += [np.concatenate(list(seen.byte().cpu().numpy()), axis=1), np.concatenate(list(drawn), axis=1)]
    Image.fromarray(np.concatenate(strips)).save(args.file)


if __name__ == "__main__":
    main()
