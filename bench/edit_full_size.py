"""Measures Qwen-Image-Edit-2511 at full size on one GPU, with random weights, in the product's own classes.

python -m bench.edit_full_size [--device cuda:0] [--output edit_full_size.json] [--budget-seconds 400]

For each variant (bfloat16 as it is, and compiled; float8 on request): seconds to make and to warm up, then full and
fast mode with one, two and three pictures: encoding of words and pictures, denoising, decoding, graphs compiled
meanwhile, and the peak of memory. The file is written after every measurement; what the budget left out is named
in it. Random weights say nothing of pictures: only time and memory mean something here.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.full_size_model import Variant, needs_of, variants_named, versions
from bench.gauge import Gauge
from bench.random_model import (
    ATTENTION,
    LIGHTNING_RANK,
    MLP,
    MODULATION,
    build_edit_pipeline,
    full_architecture,
    tiny_architecture,
    write_lora,
)
from bench.report import OutOfBudget, Report
from core.qwen.compiling import count_graphs
from core.qwen.loading import QwenImageModel, assemble
from core.qwen.loras.library import LoraLibrary
from core.qwen.offload import Offload
from core.qwen.precision import precision_problems
from core.qwen.preflight import LoadingPlan
from core.qwen.profile import LoraLimits, LoraSource, Profile, Size, load_profile
from core.qwen.sampling import GenerationTimings, generate
from core.runtime.artifacts import ArtifactStore
from core.runtime.cancellation import CancelToken
from core.runtime.worker import DeviceWorker
from services.editor.engine import EditorEngine

SCENE = "in a modern office by the light of a late afternoon"
REFERENCES = (1, 2, 3)
SIZES = {True: Size(width=256, height=256), False: Size(width=1024, height=1024)}
"""Of the pictures and the results, for the tiny model and the full one."""


class EditBench:
    """One run on one device."""

    def __init__(self, arguments: argparse.Namespace, report: Report, folder: Path) -> None:
        """Measure as ``arguments`` say; the random Lightning LoRA goes to ``folder``."""
        self._gauge = Gauge(torch.device(arguments.device))
        self._architecture = tiny_architecture() if arguments.tiny else full_architecture()
        self._compiler: str = arguments.compiler
        self._full_steps: int = arguments.full_steps
        self._references: Sequence[int] = arguments.references
        self._size = SIZES[arguments.tiny]
        self._report = report
        self._folder = folder
        self._profile = _profile("miniature-edit" if arguments.tiny else "qwen-edit", folder)

    def run(self, variants: Sequence[Variant]) -> None:
        """Measure the variants one after the other, each with a model of its own."""
        for index, variant in enumerate(variants):
            problems = precision_problems(variant.precision, self._gauge.device)
            if problems:
                self._report.leave_out(variant.name, "; ".join(problems))
                continue
            try:
                self._report.check_budget()
                self._run_variant(variant)
            except OutOfBudget:
                rest = [other.name for other in variants[index + 1 :]]
                self._report.leave_out(", ".join([f"the rest of {variant.name}", *rest]), "the budget is spent")
                return
            finally:
                # The next variant needs the memory, and its graphs are its own.
                self._gauge.clear()

    def _run_variant(self, variant: Variant) -> None:
        self._gauge.reset_peak()
        model, seconds = self._gauge.timed(lambda: self._load(variant))
        self._report.add(variant.name, "load", {"seconds": seconds, **self._gauge.peak()})
        self._gauge.reset_peak()
        library = LoraLibrary(
            model, ArtifactStore(str(self._folder / "artifacts")), max_count=1, max_bytes=2**30, max_file_bytes=2**30
        )
        engine = EditorEngine(model, DeviceWorker("bench", capacity=1), library)
        graphs, seconds = self._gauge.timed(engine.warm_up)
        self._report.add(variant.name, "warm_up", {"seconds": seconds, "graphs": graphs, **self._gauge.peak()})
        for count in self._references:
            for mode in ("fast", "full"):
                self._report.check_budget()
                self._report.add(variant.name, f"{mode} {count}", self._measure(engine, mode, count))

    def _load(self, variant: Variant) -> QwenImageModel:
        pipeline = build_edit_pipeline(self._architecture, self._gauge.device)
        lightning = self._folder / "lightning.safetensors"
        if not lightning.exists():
            write_lora(
                pipeline.transformer, lightning, rank=LIGHTNING_RANK, layers=(*ATTENTION, *MLP, *MODULATION), seed=2
            )
        plan = LoadingPlan(
            folder=self._folder,
            lora_files={mode.name: lightning for mode in self._profile.modes if mode.lora},
            device=self._gauge.device,
            guidance_device=None,
            precision=variant.precision,
            offload=Offload.NONE,
            compiled=variant.compiled,
            needs=needs_of(self._profile, pipeline, variant.precision),
            compiler=self._compiler,
        )
        gib = {name: round(size / 2**30, 2) for name, size in dataclasses.asdict(plan.needs).items()}
        self._report.add(variant.name, "memory_estimate_gib", gib)
        return assemble(self._profile, plan, pipeline, revision="random")

    def _measure(self, engine: EditorEngine, mode: str, count: int) -> dict[str, Any]:
        self._gauge.reset_peak()
        before = count_graphs()
        rng = np.random.default_rng(count)
        shape = (self._size.height, self._size.width, 3)
        pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]
        steps = self._full_steps if mode == "full" else None
        draft = engine.draft(instruction="", scene=SCENE, pictures=count, seed=1, mode=mode, steps=steps)
        request = engine.complete(draft, images=pictures, denoise=1.0)

        def work() -> GenerationTimings:
            model = engine.model
            return generate(
                model.pipeline, model.decoder, request, CancelToken(), lambda event: None, condition=engine.condition
            )

        timings, seconds = self._gauge.timed(work)
        return {
            "seconds": seconds,
            "encode_seconds": round(timings.encode_seconds, 4),
            "denoise_seconds": round(timings.denoise_seconds, 3),
            "decode_seconds": round(timings.decode_seconds, 4),
            "steps": request.work_steps,
            "image_tokens": request.tokens,
            "graphs_compiled": count_graphs() - before,
            **self._gauge.peak(),
        }


def _profile(name: str, folder: Path) -> Profile:
    """Take a shipped profile with the random Lightning LoRA, and room for one LoRA beside it."""
    profile = load_profile(name)
    lora = LoraSource(file=str(folder / "lightning.safetensors"))
    modes = tuple(dataclasses.replace(mode, lora=lora) if mode.lora else mode for mode in profile.modes)
    widths = LoraLimits(max_rank=64, widths=(LIGHTNING_RANK, 2 * LIGHTNING_RANK))
    return dataclasses.replace(profile, modes=modes, loras=widths)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--output", type=Path, default=Path("edit_full_size.json"))
    parser.add_argument("--references", type=int, nargs="+", default=list(REFERENCES), help="numbers of pictures")
    parser.add_argument("--full-steps", type=int, default=40)
    parser.add_argument("--budget-seconds", type=float, default=400, help="begin no measurement after that")
    parser.add_argument("--variants", nargs="+", default=["bfloat16", "bfloat16-compiled"])
    parser.add_argument("--compiler", default="inductor", help="backend of torch.compile")
    parser.add_argument("--tiny", action="store_true", help="a model of two blocks in float32, to try this script")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    try:
        variants = variants_named(chosen.variants, tiny=chosen.tiny)
    except ValueError as error:
        parser.error(str(error))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    report = Report(chosen.output, chosen.budget_seconds, device=name, versions=versions(), tiny=chosen.tiny)
    with tempfile.TemporaryDirectory() as folder:
        EditBench(chosen, report, Path(folder)).run(variants)
    report.write()


if __name__ == "__main__":
    main()
