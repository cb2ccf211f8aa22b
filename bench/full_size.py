"""Measures Qwen-Image-2512 at full size on one GPU, with random weights, in the product's own classes.

python -m bench.full_size [--device cuda:0] [--output full_size.json] [--budget-seconds 450]

For each variant (bfloat16 as it is, bfloat16 compiled, float8 compiled): seconds to make and to warm up, full and fast
mode at each size, three LoRAs in turn, graphs that were compiled meanwhile, and peak memory of every step. The file is
written after every measurement; what the budget left no time for is named in it. Random weights say nothing of
pictures: only time and memory mean something here.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.random_model import (
    ATTENTION,
    LIGHTNING_RANK,
    MLP,
    MODULATION,
    Architecture,
    build_pipeline,
    full_architecture,
    tiny_architecture,
    write_lora,
)
from bench.report import OutOfBudget, Report
from core.qwen.checkpoint import TensorEntry
from core.qwen.compiling import count_graphs
from core.qwen.loading import QwenImageModel, assemble
from core.qwen.loras.library import LoraChoice, LoraLibrary
from core.qwen.loras.requested import RequestedLora
from core.qwen.memory import MemoryNeeds, estimate
from core.qwen.offload import Offload
from core.qwen.precision import precision_problems
from core.qwen.preflight import LoadingPlan
from core.qwen.profile import LoraLimits, LoraSource, Precision, Profile, Size, load_profile
from core.qwen.request import resolve_request
from core.qwen.sampling import GenerationTimings, ImageFinished, generate
from core.qwen.warmup import warm_up
from core.runtime.artifacts import ArtifactStore
from core.runtime.cancellation import CancelToken

PROMPT = "a professional woman with long brown hair and a blue shirt in a modern office"
LORAS = (("small", 16, ATTENTION), ("usual", 32, (*ATTENTION, *MLP)), ("large", 64, ATTENTION[:4]))
"""Names, ranks and layers of the three LoRAs that are switched."""
PACKAGES = ("torch", "diffusers", "transformers", "torchao")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to run the model."""

    name: str
    precision: Precision
    compiled: bool


class Bench:
    """One run on one device."""

    def __init__(self, arguments: argparse.Namespace, report: Report, folder: Path) -> None:
        """Measure as ``arguments`` say; LoRA files go to ``folder``."""
        self._device = torch.device(arguments.device)
        self._architecture: Architecture = tiny_architecture() if arguments.tiny else full_architecture()
        self._compiler: str = arguments.compiler
        self._full_steps: int = arguments.full_steps
        self._sizes = [Size(width=side, height=side) for side in arguments.sizes]
        self._report = report
        self._folder = folder
        self._profile = _profile("miniature" if arguments.tiny else "qwen", self._sizes, folder)
        self._store = ArtifactStore(str(folder / "artifacts"))

    def run(self, variants: Sequence[Variant]) -> None:
        """Measure the variants one after the other, each with a model of its own."""
        for index, variant in enumerate(variants):
            problems = precision_problems(variant.precision, self._device)
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
                torch._dynamo.reset()
                gc.collect()
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()

    def _run_variant(self, variant: Variant) -> None:
        self._reset_peak()
        pipeline, making = self._timed(lambda: build_pipeline(self._architecture, self._device))
        self._write_loras(pipeline)
        plan = self._plan(variant, pipeline)
        model, assembling = self._timed(lambda: assemble(self._profile, plan, pipeline, revision="random"))
        load = {"make_weights_seconds": making, "assemble_seconds": assembling, **self._peak()}
        self._report.add(variant.name, "load", load)
        self._reset_peak()
        graphs, seconds = self._timed(lambda: warm_up(model))
        self._report.add(variant.name, "warm_up", {"seconds": seconds, "graphs": graphs, **self._peak()})
        self._switch_loras(variant, model)
        for size in self._sizes:
            for mode in ("fast", "full"):
                self._report.check_budget()
                self._measure_mode(variant, model, mode, size)

    def _write_loras(self, pipeline: Any) -> None:
        everything = (*ATTENTION, *MLP, *MODULATION)
        for seed, (name, rank, layers) in enumerate((("lightning", LIGHTNING_RANK, everything), *LORAS), start=2):
            file = self._folder / f"{name}.safetensors"
            if not file.exists():
                write_lora(pipeline.transformer, file, rank=rank, layers=layers, seed=seed)

    def _plan(self, variant: Variant, pipeline: Any) -> LoadingPlan:
        needs = _needs(self._profile, pipeline, variant.precision)
        sizes = {**dataclasses.asdict(needs), "on_device": needs.on_device(Offload.NONE)}
        self._report.add(
            variant.name, "memory_estimate", {f"{name}_gib": round(size / 2**30, 2) for name, size in sizes.items()}
        )
        lightning = self._folder / "lightning.safetensors"
        return LoadingPlan(
            folder=self._folder,
            lora_files={mode.name: lightning for mode in self._profile.modes if mode.lora},
            device=self._device,
            guidance_device=None,
            precision=variant.precision,
            offload=Offload.NONE,
            compiled=variant.compiled,
            needs=needs,
            compiler=self._compiler,
        )

    def _measure_mode(self, variant: Variant, model: QwenImageModel, mode: str, size: Size) -> None:
        self._reset_peak()
        before = count_graphs()
        steps = self._full_steps if mode == "full" else None
        timings, seconds, _ = self._draw(model, mode=mode, steps=steps, size=size)
        figures = {
            "seconds": seconds,
            "encode_seconds": round(timings.encode_seconds, 4),
            "denoise_seconds": round(timings.denoise_seconds, 3),
            "decode_seconds": round(timings.decode_seconds, 4),
            "steps": steps or next(m.steps for m in model.profile.modes if m.name == mode),
            "graphs_compiled": count_graphs() - before,
            **self._peak(),
        }
        self._report.add(variant.name, f"{mode} {size.width}x{size.height}", figures)

    def _switch_loras(self, variant: Variant, model: QwenImageModel) -> None:
        library = LoraLibrary(model, self._store, max_count=4, max_bytes=2**34, max_file_bytes=2**34)
        for name, _, _ in LORAS:
            library.register(name, (self._folder / f"{name}.safetensors").read_bytes())
        requested = {name: library.find([LoraChoice(name, 0, 1.0)]) for name, _, _ in LORAS}
        size = self._sizes[0]
        self._draw(model, mode="fast", size=size)
        self._reset_peak()
        before = count_graphs()
        _, base_seconds, base = self._draw(model, mode="fast", size=size)
        pictures, seconds = [], []
        order = [name for name, _, _ in LORAS]
        for name in (*order, order[0]):
            _, taken, picture = self._draw(model, mode="fast", size=size, loras=requested[name])
            pictures.append(picture)
            seconds.append(taken)
        _, _, base_again = self._draw(model, mode="fast", size=size)
        self._report.add(
            variant.name,
            "loras_switched",
            {
                "graphs_compiled": count_graphs() - before,
                "base_seconds": base_seconds,
                "seconds": seconds,
                "same_lora_same_picture": bool((pictures[0] == pictures[-1]).all()),
                "base_unchanged": bool((base == base_again).all()),
                "pictures_differ": all(bool((base != picture).any()) for picture in pictures),
                **self._peak(),
            },
        )

    def _draw(
        self,
        model: QwenImageModel,
        *,
        mode: str,
        size: Size,
        steps: int | None = None,
        loras: tuple[RequestedLora, ...] = (),
    ) -> tuple[GenerationTimings, float, Any]:
        request = resolve_request(
            model.profile,
            prompt=PROMPT,
            seed=1,
            mode=mode,
            steps=steps,
            width=size.width,
            height=size.height,
            loras=loras,
        )
        pictures: list[Any] = []

        def emit(event: object) -> None:
            if isinstance(event, ImageFinished):
                pictures.append(event.pixels)

        timings, seconds = self._timed(lambda: generate(model.pipeline, model.decoder, request, CancelToken(), emit))
        return timings, seconds, pictures[0]

    def _timed(self, work: Any) -> tuple[Any, float]:
        began = time.perf_counter()
        result = work()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return result, round(time.perf_counter() - began, 3)

    def _reset_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _peak(self) -> dict[str, float]:
        if self._device.type != "cuda":
            return {}
        return {
            "peak_allocated_gib": round(torch.cuda.max_memory_allocated(self._device) / 2**30, 2),
            "peak_reserved_gib": round(torch.cuda.max_memory_reserved(self._device) / 2**30, 2),
        }


def _profile(name: str, sizes: Sequence[Size], folder: Path) -> Profile:
    """Take a shipped profile, with these sizes alone, the random Lightning LoRA, and room for one LoRA beside it."""
    profile = load_profile(name)
    by_ratio = {"1:1": sizes[0]} | {f"size-{size.width}": size for size in sizes[1:]}
    limits = dataclasses.replace(
        profile.sizes,
        by_aspect_ratio=by_ratio,
        min_pixels=min(size.pixels for size in sizes),
        max_pixels=max(size.pixels for size in sizes),
    )
    lora = LoraSource(file=str(folder / "lightning.safetensors"))
    modes = tuple(dataclasses.replace(mode, lora=lora) if mode.lora else mode for mode in profile.modes)
    widths = LoraLimits(max_rank=64, widths=(LIGHTNING_RANK, 2 * LIGHTNING_RANK))
    return dataclasses.replace(profile, sizes=limits, modes=modes, loras=widths)


def _needs(profile: Profile, pipeline: Any, precision: Precision) -> MemoryNeeds:
    """Compute what preflight would compute from the headers of these weights' files."""
    tensors = {
        component: [TensorEntry(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
        for component, module in (
            ("transformer", pipeline.transformer),
            ("text_encoder", pipeline.text_encoder),
            ("vae", pipeline.vae),
        )
    }
    return estimate(
        profile,
        tensors,
        precision,
        width=pipeline.transformer.inner_dim,
        decoder_channels=pipeline.vae.config.base_dim,
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--output", type=Path, default=Path("full_size.json"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 1328], help="sides of square pictures")
    parser.add_argument("--full-steps", type=int, default=50)
    parser.add_argument("--budget-seconds", type=float, default=450, help="begin no measurement after that")
    parser.add_argument("--variants", nargs="+", default=["bfloat16", "bfloat16-compiled", "float8-compiled"])
    parser.add_argument("--compiler", default="inductor", help="backend of torch.compile")
    parser.add_argument("--tiny", action="store_true", help="a model of two blocks in float32, to try this script")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    unquantized: Precision = "float32" if chosen.tiny else "bfloat16"
    known = {
        "bfloat16": Variant("bfloat16", unquantized, compiled=False),
        "bfloat16-compiled": Variant("bfloat16-compiled", unquantized, compiled=True),
        "float8-compiled": Variant("float8-compiled", "float8", compiled=True),
    }
    unknown = [name for name in chosen.variants if name not in known]
    if unknown:
        parser.error(f"unknown variants {', '.join(unknown)}: choose from {', '.join(known)}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    report = Report(chosen.output, chosen.budget_seconds, device=name, versions=_versions(), tiny=chosen.tiny)
    with tempfile.TemporaryDirectory() as folder:
        Bench(chosen, report, Path(folder)).run([known[variant] for variant in chosen.variants])
    report.write()


if __name__ == "__main__":
    main()
