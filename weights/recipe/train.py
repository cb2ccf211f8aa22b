"""Train the miniature from drawn pictures, one stage after the other.

    python -m weights.recipe.draw --out build/drawn --count 35000 --aspects 0.25 --workers 32
    python -m weights.recipe.train vae      --data build/drawn --work build/work --seconds 240
    python -m weights.recipe.train denoiser --data build/drawn --work build/work --seconds 840
    python -m weights.recipe.train export   --work build/work --out weights/miniature
    python -m weights.recipe.train distil   --data build/drawn --out weights/miniature --seconds 110
    python -m weights.recipe.train sheet    --out weights/miniature --file build/sheet.png

`train.sh` beside this runs them all, and draws while the autoencoder trains.
With several cards, start the stages by ``torchrun --nproc-per-node N -m weights.recipe.train …``.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImagePipeline
from PIL import Image

from weights.recipe import parallel
from weights.recipe.architecture import build_pipeline, save
from weights.recipe.corpus import ShapeGroup, load_groups
from weights.recipe.distil import FAST_STEPS, LORA_FILE, distil, fast_scheduler, save_lora
from weights.recipe.prompts import EMPTY_PROMPT, embed, tokenize
from weights.recipe.sampling import Condition, decode, sample, sigmas
from weights.recipe.train_denoiser import (
    LEARNING_RATE,
    initialise,
    prepare,
    prepare_captions,
    token_length,
    train_denoiser,
)
from weights.recipe.train_vae import peak_signal_to_noise, train_vae

ENDLESS = 10**9
SHEET_PROMPTS = (
    "a professional woman in a modern office",
    "a professional woman in a cafe",
    "a professional woman on the beach",
    "a young man with red hair and a green t-shirt on the street",
    "an old man with white hair and glasses in a library",
    "a woman with dark skin and long black hair in a garden, yellow dress",
    "close-up portrait of a smiling woman with blonde hair, studio",
    "a man with a beard in a kitchen, blue shirt",
)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["vae", "denoiser", "export", "distil", "sheet"])
    parser.add_argument("--data", type=Path, help="folder that draw.py wrote")
    parser.add_argument("--work", type=Path, help="folder for the unfinished pipeline, in fp32")
    parser.add_argument("--out", type=Path, help="folder for the finished one, in fp16")
    parser.add_argument("--file", type=Path, help="sheet: the PNG to write")
    parser.add_argument(
        "--warm-from", type=Path, help="vae: go on from this pipeline's autoencoder instead of random numbers"
    )
    parser.add_argument("--seconds", type=float, default=600, help="longest time of the stage's loop (%(default)s)")
    parser.add_argument("--steps", type=int, help="most steps of the stage's loop; no limit when left out")
    parser.add_argument("--batch", type=int, help="pictures a step and card")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="denoiser: learning rate at its peak")
    parser.add_argument("--guidance", type=float, default=3.0, help="distil and sheet: true_cfg_scale of full mode")
    parser.add_argument("--full-steps", type=int, default=20, help="distil and sheet: steps of full mode")
    parser.add_argument("--paths", type=int, default=12000, help="distil: teacher paths a card")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    parallel.setup()
    torch.set_float32_matmul_precision("high")
    {"vae": run_vae, "denoiser": run_denoiser, "export": run_export, "distil": run_distil, "sheet": run_sheet}[
        arguments.stage
    ](arguments)


def run_vae(arguments: argparse.Namespace) -> None:
    """Build the pipeline and train its autoencoder."""
    groups = load_groups(arguments.data)
    held_out = torch.from_numpy(groups[0].pictures[-64:])
    captions = itertools.chain.from_iterable(itertools.chain.from_iterable(g.captions for g in groups))
    pipeline = build_pipeline(arguments.seed, captions)
    initialise(pipeline)
    if arguments.warm_from:
        pipeline.vae.load_state_dict(load(arguments.warm_from).vae.state_dict())
    group = ShapeGroup(groups[0].pictures[:-64], groups[0].face_boxes[:-64], groups[0].captions[:-64])
    train_vae(
        pipeline.vae, [group], arguments.seconds, arguments.steps or ENDLESS, arguments.batch or 48, arguments.seed
    )
    if parallel.rank() == 0:
        print(f"held-out PSNR {peak_signal_to_noise(pipeline.vae, held_out):.2f} dB", flush=True)
        pipeline.save_pretrained(arguments.work)


def run_denoiser(arguments: argparse.Namespace) -> None:
    """Train denoiser and text encoder on the autoencoder's latents."""
    pipeline = load(arguments.work)
    groups = load_groups(arguments.data)
    length = token_length(pipeline, groups)
    pipeline.vae.to(parallel.device())
    prepared = prepare(pipeline, groups, length)
    if parallel.rank() == 0:
        print("pictures", [(g.captions.shape, len(g.captions)) for g in prepared], "tokens", length, flush=True)
    train_denoiser(
        pipeline, prepared, length, arguments.seconds, arguments.steps or ENDLESS, arguments.batch or 256,
        arguments.rate, arguments.seed,
    )  # fmt: skip
    if parallel.rank() == 0:
        pipeline.save_pretrained(arguments.work)


def run_export(arguments: argparse.Namespace) -> None:
    """Write the trained pipeline in fp16."""
    save(load(arguments.work), arguments.out)


def run_distil(arguments: argparse.Namespace) -> None:
    """Distil the fast mode's LoRA from the finished pipeline."""
    pipeline = load(arguments.out)
    groups = load_groups(arguments.data)
    length = token_length(pipeline, groups)
    captions = prepare_captions(pipeline, groups, length)
    weights = distil(
        pipeline,
        captions,
        length,
        arguments.seconds,
        arguments.steps or ENDLESS,
        arguments.batch or 128,
        arguments.paths,
        arguments.full_steps,
        arguments.guidance,
        arguments.seed,
    )
    if parallel.rank() == 0:
        save_lora(weights, arguments.out)


def run_sheet(arguments: argparse.Namespace) -> None:
    """Draw a sheet: full mode, four steps with the LoRA, and four steps without, a row each."""
    pipeline = load(arguments.out).to(parallel.device())
    pipeline.transformer.eval()
    device = parallel.device()
    drop = pipeline.prompt_template_encode_start_idx
    condition = Condition(*embed(pipeline.text_encoder, tokenize(pipeline, SHEET_PROMPTS).to(device), drop))
    n = len(SHEET_PROMPTS)
    empty = embed(pipeline.text_encoder, tokenize(pipeline, [EMPTY_PROMPT] * n).to(device), drop)
    noise = torch.stack([torch.randn(256, 64, generator=torch.Generator().manual_seed(s)) for s in range(n)]).to(device)
    shape = (32, 32)
    full = sigmas(pipeline.scheduler, arguments.full_steps, 256)
    fast = sigmas(fast_scheduler(pipeline.scheduler), FAST_STEPS, 256)
    rows = [sample(pipeline.transformer, noise, condition, Condition(*empty), arguments.guidance, full, shape)[0]]
    plain = sample(pipeline.transformer, noise, condition, None, 1.0, fast, shape)[0]
    if (arguments.out / LORA_FILE).exists():
        pipeline.load_lora_weights(arguments.out, weight_name=LORA_FILE, adapter_name="fast")
        rows.append(sample(pipeline.transformer, noise, condition, None, 1.0, fast, shape)[0])
        print("distance to full: with", float((rows[1] - rows[0]).pow(2).mean()), end=" ")
    print("without LoRA", float((plain - rows[0]).pow(2).mean()))
    rows.append(plain)
    pictures = [np.concatenate(list(decode(pipeline.vae, row, shape)), axis=1) for row in rows]
    Image.fromarray(np.concatenate(pictures)).save(arguments.file)


def load(folder: Path) -> QwenImagePipeline:
    """Load a pipeline in fp32."""
    pipeline: QwenImagePipeline = QwenImagePipeline.from_pretrained(folder, torch_dtype=torch.float32)
    return pipeline


if __name__ == "__main__":
    main()
