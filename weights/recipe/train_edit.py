"""Train the miniature that edits, from the generator's miniature on drawn sessions; `train_edit.sh` runs all stages.

    python -m weights.recipe.edit_pairs --out build/pairs --count 18000 --workers 32
    python -m weights.recipe.train_edit vision --data build/pairs --work build/work --seconds 60
    torchrun --nproc-per-node 2 -m weights.recipe.train_edit train --data build/pairs --work build/work \\
        --out build/out/miniature-edit --seconds 800 --fast-seconds 110
    python -m weights.recipe.train_edit sheet --data build/held --out build/out/miniature-edit --file build/sheet.png

The transformer goes on from the generator's; autoencoder and language model are the generator's own. ``--out`` is a
folder beside the generator's copy, whose text encoder gets the vision tower. References are further tokens that count
as free of noise (``zero_cond_t``). ``train`` keeps what it goes on from in ``--work`` every minute, and the averaged
weights in ``--out``, so that a run may be cut at any time and started again; then it distils the fast mode's LoRA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImageEditPlusPipeline
from PIL import Image
from torch import Tensor

from core.qwen.profile import load_profile
from weights.recipe import parallel
from weights.recipe.distil import FAST_STEPS, LORA_FILE, fast_scheduler, save_lora
from weights.recipe.sampling import decode
from weights.recipe.train_edit_data import prepare_edits, prepare_pictures
from weights.recipe.train_edit_denoiser import LEARNING_RATE, build_models, train_edit
from weights.recipe.train_edit_distil import distil_edit, draw_edits, first_of_kind, latents_of
from weights.recipe.train_edit_folder import TRANSFORMER_FILE, link_shared, start_from, write_folder
from weights.recipe.train_edit_state import half, write_whole
from weights.recipe.train_edit_vision import labelled_pictures, train_vision

ENDLESS = 10**9
SHEET_KINDS = (("scene", "background", "clothes", "colour", "nothing"), ("together",))


def run_vision(arguments: argparse.Namespace) -> None:
    """Train the vision tower, and keep the whole pipeline in ``--work``."""
    pipeline = start_from(arguments.start)
    data = labelled_pictures(arguments.data)
    options = {"seconds": arguments.seconds, "steps": arguments.steps, "batch": arguments.batch or 512}
    told = train_vision(pipeline, data, seed=arguments.seed, **options)
    print("told of held-out pictures", json.dumps({name: round(share, 3) for name, share in told.items()}), flush=True)
    pipeline.to("cpu").save_pretrained(arguments.work / "pipeline")


def run_train(arguments: argparse.Namespace) -> None:
    """Train the transformer, then the fast mode's LoRA."""
    first = parallel.rank() == 0
    pipeline = QwenImageEditPlusPipeline.from_pretrained(arguments.work / "pipeline", dtype=torch.float32)
    state = arguments.work / "state.safetensors"
    if first and not (state.exists() and (arguments.out / TRANSFORMER_FILE).exists()):
        write_folder(pipeline, arguments.out, arguments.out.parent / arguments.start.name)
    pictures = prepare_pictures(pipeline, arguments.data)
    groups = prepare_edits(pipeline, pictures)
    if first:
        print("edits", [(group.images, len(group), tuple(group.states.shape)) for group in groups], flush=True)
    transformer = pipeline.transformer
    names = [name for name, _ in transformer.named_parameters()]
    file = arguments.out / TRANSFORMER_FILE
    shared = {"pictures": pictures, "groups": groups, "seed": arguments.seed}
    train_edit(
        transformer,
        **shared,
        seconds=arguments.seconds,
        steps=arguments.steps,
        batch=arguments.batch or 256,
        rate=arguments.rate,
        state=state,
        publish=lambda averages: write_whole(half(names, averages), file),
    )
    if first:
        write_whole(half(names, list(transformer.parameters())), file)
        print("trained", flush=True)
    if not arguments.fast_seconds:
        return
    mode = load_profile("miniature-edit").modes[0]
    weights = distil_edit(
        transformer,
        pipeline.scheduler,
        **shared,
        seconds=arguments.fast_seconds,
        steps=arguments.steps,
        batch=arguments.fast_batch,
        paths=arguments.paths,
        teacher_steps=arguments.teacher_steps or mode.steps,
        scale=mode.true_cfg_scale,
    )
    if first:
        save_lora(weights, arguments.out)
        print("distilled", flush=True)


@torch.no_grad()
def run_sheet(arguments: argparse.Namespace) -> None:
    """Draw a sheet: a row an edit, its references, the drawn target, and what the model makes of them.

    Full mode from noise and at ``denoise`` 0.7, and the same in fast mode where there is a LoRA.
    """
    mode = load_profile("miniature-edit").modes[0]
    pipeline = QwenImageEditPlusPipeline.from_pretrained(arguments.out, dtype=torch.float32).to(parallel.device())
    pictures = prepare_pictures(pipeline, arguments.data)
    groups = prepare_edits(pipeline, pictures)
    models = build_models(pipeline.transformer.eval(), pictures, groups)
    shape = (int(pictures.latents.shape[2]), int(pictures.latents.shape[3]))
    chosen = [
        first_of_kind(pictures, group, kinds, arguments.each)
        for group, kinds in zip(groups, SHEET_KINDS, strict=False)
    ]  # fmt: skip
    fast = (arguments.out / LORA_FILE).exists()
    drawn: list[list[Tensor]] = []
    full = (pipeline.scheduler, arguments.teacher_steps or mode.steps, mode.true_cfg_scale)
    few = (fast_scheduler(pipeline.scheduler), FAST_STEPS, 1.0)
    ways = [(*how, denoise) for how in ((full, few) if fast else (full,)) for denoise in (1.0, 0.7)]
    for place, (scheduler, steps, scale, denoise) in enumerate(ways):
        if place == 2:
            pipeline.load_lora_weights(arguments.out, weight_name=LORA_FILE, adapter_name="fast")
        drawn.append(
            [
                draw_edits(model, pictures, group, rows, scheduler, steps=steps, scale=scale, denoise=denoise)
                for model, group, rows in zip(models, groups, chosen, strict=False)
            ]
        )
    strips = []
    for place, (group, rows) in enumerate(zip(groups, chosen, strict=False)):
        given = [latents_of(pictures, group.references[rows, image]) for image in range(group.images)]
        given += [torch.zeros_like(given[0])] * (2 - group.images)
        columns = [*given, latents_of(pictures, group.targets[rows]), *(way[place] for way in drawn)]
        strips.append(np.concatenate([decode(pipeline.vae, column, shape) for column in columns], axis=2))
    Image.fromarray(np.concatenate([row for strip in strips for row in strip])).save(arguments.file)


def run_link(arguments: argparse.Namespace) -> None:
    """Link the shared parts anew, where a copy of the folder has lost the links."""
    link_shared(arguments.out, arguments.out.parent / arguments.start.name)


STAGES = {"vision": run_vision, "train": run_train, "sheet": run_sheet, "link": run_link}
NEEDED = {
    "vision": ("data", "work"),
    "train": ("data", "work", "out"),
    "sheet": ("data", "out", "file"),
    "link": ("out",),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--data", type=Path, help="folder that edit_pairs.py wrote")
    parser.add_argument("--from", type=Path, dest="start", default=Path("weights/miniature"), help="(%(default)s)")
    parser.add_argument("--work", type=Path, help="folder for the unfinished pipeline, in fp32")
    parser.add_argument("--out", type=Path, help="folder for the finished one, in fp16, beside the generator's")
    parser.add_argument("--file", type=Path, help="sheet: the PNG to write")
    parser.add_argument("--seconds", type=float, default=800, help="longest time of the stage's loop (%(default)s)")
    parser.add_argument("--steps", type=int, default=ENDLESS, help="most steps of each loop")
    parser.add_argument("--batch", type=int, help="pictures or edits a step and card (512 for vision, 256 for train)")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="learning rate at its peak (%(default)s)")
    parser.add_argument("--fast-seconds", type=float, default=0, help="train: then distil the LoRA for so long")
    parser.add_argument("--fast-batch", type=int, default=128, help="train: paths a step and card (%(default)s)")
    parser.add_argument("--paths", type=int, default=4096, help="train: teacher paths a card (%(default)s)")
    parser.add_argument("--teacher-steps", type=int, help="steps of full mode; the profile's when left out")
    parser.add_argument("--each", type=int, default=2, help="sheet: rows of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    missing = [f"--{name}" for name in NEEDED[args.stage] if getattr(args, name) is None]
    if missing:
        parser.error(f"{args.stage} needs {', '.join(missing)}")
    parallel.setup()
    torch.set_float32_matmul_precision("high")
    STAGES[args.stage](args)


if __name__ == "__main__":
    main()
