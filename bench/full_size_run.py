"""The measurements of `bench.full_size`, one after the other; one that fails or has no time left is named."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.full_size_baseline import measure_diffusers
from bench.full_size_model import CACHED_MODE, LIGHTNING_FILE, Variant, bench_profile, loading_plan, needs_of
from bench.gauge import Gauge
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
from bench.report import Report
from core.qwen.compiling import count_graphs
from core.qwen.loading import QwenImageModel, assemble
from core.qwen.loras.library import LoraChoice, LoraLibrary
from core.qwen.loras.requested import RequestedLora
from core.qwen.offload import Offload
from core.qwen.precision import precision_problems
from core.qwen.profile import Mode, Size
from core.qwen.request import GenerationRequest, resolve_request
from core.qwen.sampling import GenerationTimings, ImageFinished, generate
from core.qwen.warmup import warm_up
from core.runtime.artifacts import ArtifactStore
from core.runtime.cancellation import CancelToken
from core.runtime.images import ImageFormat, encode_image

PROMPT = "a professional woman with long brown hair and a blue shirt in a modern office"
LONG_PROMPT = ", ".join([PROMPT] * 12)
LORAS = (("small", 16, ATTENTION), ("usual", 32, (*ATTENTION, *MLP)), ("large", 64, ATTENTION[:4]))
"""Names, ranks and layers of the three LoRAs that are switched."""
BATCHES = (1, 2, 4)
BATCH_PICTURES = 4
BATCH_STEPS = 10
# What is expected of an H100 before anything is known, so that nothing is begun that the budget would not see end.
_FORWARD_SECONDS = 0.2
_FORWARD_PIXELS = 1024**2
_MAKING_SECONDS = 35.0
_COMPILING_SECONDS = 75.0


def label(size: Size) -> str:
    """Return the size as measurements are called by it."""
    return f"{size.width}x{size.height}"


class Bench:
    """One run on one device."""

    def __init__(self, arguments: argparse.Namespace, report: Report, folder: Path) -> None:
        """Measure as ``arguments`` say; LoRA files go to ``folder``."""
        self._gauge = Gauge(torch.device(arguments.device))
        self._architecture: Architecture = tiny_architecture() if arguments.tiny else full_architecture()
        self._compiler: str = arguments.compiler
        self._full_steps: int = arguments.full_steps
        self._sizes = [Size(width=side, height=side) for side in arguments.sizes]
        side = self._sizes[0].width // 32 * 16
        self._small = Size(width=side, height=side)
        self._own = Size(width=self._sizes[0].width - 16, height=self._sizes[0].height * 3 // 64 * 16)
        self._report = report
        self._folder = folder
        name = "miniature" if arguments.tiny else "qwen"
        self._profile = bench_profile(name, self._sizes, (self._small, self._own), folder)
        self._compiling_seconds = _COMPILING_SECONDS

    def run(self, variants: Sequence[Variant]) -> None:
        """Measure the variants one after the other, each with a model of its own."""
        for index, variant in enumerate(variants):
            problems = precision_problems(variant.precision, self._gauge.device)
            if problems:
                self._report.leave_out(variant.name, "; ".join(problems))
                continue
            self._measure(variant, baseline=index == 0 and not variant.compiled)
            self._gauge.clear()

    def _measure(self, variant: Variant, *, baseline: bool) -> None:
        """Measure a variant; what it leaves behind is garbage when this returns."""
        made: list[Any] = []

        def make() -> dict[str, Any]:
            self._gauge.reset_peak()
            pipeline, seconds = self._gauge.timed(lambda: build_pipeline(self._architecture, self._gauge.device))
            self._write_loras(pipeline)
            made.append(pipeline)
            return {"seconds": seconds, **self._gauge.peak()}

        def load() -> dict[str, Any]:
            self._gauge.reset_peak()
            pipeline = made.pop()
            needs = needs_of(self._profile, pipeline, variant.precision)
            plan = loading_plan(self._profile, variant, needs, self._folder, self._gauge.device, self._compiler)
            model, seconds = self._gauge.timed(lambda: assemble(self._profile, plan, pipeline, revision="random"))
            made.append(model)
            estimate = round(needs.on_device(Offload.NONE) / 2**30, 2)
            return {"seconds": seconds, "estimated_gib": estimate, **self._gauge.peak()}

        def warm() -> dict[str, Any]:
            self._gauge.reset_peak()
            graphs, seconds = self._gauge.timed(lambda: warm_up(made[0]))
            if variant.compiled:
                self._compiling_seconds = seconds
            return {"seconds": seconds, "graphs": graphs, **self._gauge.peak()}

        making = self._gauge.expected(_MAKING_SECONDS)
        compiling = self._gauge.expected(self._compiling_seconds) if variant.compiled else 0.0
        if not self._report.attempt(variant.name, "make_weights", make, needed_seconds=making + compiling):
            return
        if baseline:
            modes = [self._mode("full"), self._mode("fast")]
            size = self._sizes[0]
            told = [(mode, self._steps(mode), self._needed(mode, size)) for mode in modes]
            measure_diffusers(made[0], self._report, self._gauge, prompt=PROMPT, size=size, modes=told)
        if not self._report.attempt(variant.name, "load", load):
            return
        if self._report.attempt(variant.name, "warm_up", warm, needed_seconds=compiling):
            self._measure_model(variant, made[0])

    def _measure_model(self, variant: Variant, model: QwenImageModel) -> None:
        """Take the measurements of a loaded model, those that matter most first."""
        first, *others = self._sizes
        self._attempt_mode(variant, model, "full", first)
        self._attempt_mode(variant, model, "fast", first)
        self._report.attempt(variant.name, "loras_switched", lambda: self._switch_loras(model))
        self._attempt_mode(variant, model, CACHED_MODE, first)
        if variant.compiled:
            self._attempt_mode(variant, model, "full", self._small)
            self._attempt_mode(variant, model, "fast", self._own, prompt=LONG_PROMPT)
            for size in others:
                self._attempt_mode(variant, model, "fast", size)
                self._attempt_mode(variant, model, "full", size)
        else:
            self._report.attempt(variant.name, f"batches {label(self._small)}", lambda: self._draw_batches(model))

    def _attempt_mode(
        self, variant: Variant, model: QwenImageModel, name: str, size: Size, *, prompt: str = PROMPT
    ) -> None:
        mode = self._mode(name)
        self._report.attempt(
            variant.name,
            f"{name} {label(size)}",
            lambda: self._measure_mode(model, mode, size, prompt),
            needed_seconds=self._needed(mode, size),
        )

    def _measure_mode(self, model: QwenImageModel, mode: Mode, size: Size, prompt: str) -> dict[str, Any]:
        self._gauge.reset_peak()
        before = count_graphs()
        block = model.pipeline.transformer.transformer_blocks[-1]
        forward, calls = block.forward, [0]

        def counted(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            return forward(*arguments, **named)

        block.forward = counted
        try:
            timings, seconds, pixels = self._draw(model, mode=mode.name, size=size, prompt=prompt)
        finally:
            block.forward = forward
        _, png = self._gauge.timed(lambda: encode_image(pixels, ImageFormat.PNG, 100))
        steps = self._steps(mode)
        return {
            "seconds": seconds,
            "encode_seconds": round(timings.encode_seconds, 4),
            "denoise_seconds": round(timings.denoise_seconds, 3),
            "decode_seconds": round(timings.decode_seconds, 4),
            "png_seconds": png,
            "steps": steps,
            "last_block_computed": round(calls[0] / (steps * (2 if mode.true_cfg_scale > 1 else 1)), 2),
            "graphs_compiled": count_graphs() - before,
            **self._gauge.peak(),
        }

    def _switch_loras(self, model: QwenImageModel) -> dict[str, Any]:
        store = ArtifactStore(str(self._folder / "artifacts"))
        library = LoraLibrary(model, store, max_count=4, max_bytes=2**34, max_file_bytes=2**34)
        requested = {}
        for name, _, _ in LORAS:
            library.register(name, (self._folder / f"{name}.safetensors").read_bytes())
            requested[name] = library.find([LoraChoice(name, 0, 1.0)])
        size = self._sizes[0]
        self._gauge.reset_peak()
        before = count_graphs()
        _, base_seconds, base = self._draw(model, mode="fast", size=size)
        pictures, seconds = [], []
        order = [name for name, _, _ in LORAS]
        for name in (*order, order[0]):
            _, taken, picture = self._draw(model, mode="fast", size=size, loras=requested[name])
            pictures.append(picture)
            seconds.append(taken)
        two = (*requested["small"], *requested["usual"])
        _, two_seconds, _ = self._draw(model, mode="fast", size=size, loras=two)
        self._draw(model, mode="full", size=size, steps=2, loras=requested["large"])
        _, _, base_again = self._draw(model, mode="fast", size=size)
        return {
            "graphs_compiled": count_graphs() - before,
            "base_seconds": base_seconds,
            "seconds": seconds,
            "two_at_once_seconds": two_seconds,
            "same_lora_same_picture": bool((pictures[0] == pictures[-1]).all()),
            "base_unchanged": bool((base == base_again).all()),
            "pictures_differ": all(bool((base != picture).any()) for picture in pictures),
            **self._gauge.peak(),
        }

    def _draw_batches(self, model: QwenImageModel) -> dict[str, Any]:
        """Draw four small pictures, one, two and four at a time; the batch sizes' first use is not counted."""
        self._gauge.reset_peak()
        figures: dict[str, Any] = {"steps": BATCH_STEPS, "pictures": BATCH_PICTURES}
        for mode, steps in (("full", BATCH_STEPS), ("fast", None)):
            for at_once in BATCHES:
                draw = self._request(model, mode=mode, size=self._small, steps=1 if steps else None, count=at_once)
                self._generate(model, draw, at_once)
                draw = self._request(model, mode=mode, size=self._small, steps=steps, count=BATCH_PICTURES)
                timings, seconds, _ = self._generate(model, draw, at_once)
                figures[f"{mode}, {at_once} at once"] = {
                    "seconds_a_picture": round(seconds / BATCH_PICTURES, 3),
                    "denoise_seconds_a_picture": round(timings.denoise_seconds / BATCH_PICTURES, 3),
                }
        return {**figures, **self._gauge.peak()}

    def _draw(self, model: QwenImageModel, **choices: Any) -> tuple[GenerationTimings, float, Any]:
        return self._generate(model, self._request(model, **choices), 1)

    def _request(
        self,
        model: QwenImageModel,
        *,
        mode: str,
        size: Size,
        prompt: str = PROMPT,
        steps: int | None = None,
        count: int = 1,
        loras: tuple[RequestedLora, ...] = (),
    ) -> GenerationRequest:
        chosen = self._mode(mode)
        return resolve_request(
            model.profile,
            prompt=prompt,
            seed=1,
            mode=mode,
            steps=(steps or self._full_steps) if chosen.adjustable else None,
            width=size.width,
            height=size.height,
            count=count,
            loras=loras,
        )

    def _generate(
        self, model: QwenImageModel, request: GenerationRequest, at_once: int
    ) -> tuple[GenerationTimings, float, Any]:
        pictures: list[Any] = []

        def emit(event: object) -> None:
            if isinstance(event, ImageFinished):
                pictures.append(event.pixels)

        timings, seconds = self._gauge.timed(
            lambda: generate(model.pipeline, model.decoder, request, CancelToken(), emit, pictures_at_once=at_once)
        )
        return timings, seconds, pictures[0]

    def _write_loras(self, pipeline: Any) -> None:
        everything = (*ATTENTION, *MLP, *MODULATION)
        lightning = (LIGHTNING_FILE.removesuffix(".safetensors"), LIGHTNING_RANK, everything)
        for seed, (name, rank, layers) in enumerate((lightning, *LORAS), start=2):
            file = self._folder / f"{name}.safetensors"
            if not file.exists():
                write_lora(pipeline.transformer, file, rank=rank, layers=layers, seed=seed)

    def _mode(self, name: str) -> Mode:
        return next(mode for mode in self._profile.modes if mode.name == name)

    def _steps(self, mode: Mode) -> int:
        return self._full_steps if mode.adjustable else mode.steps

    def _needed(self, mode: Mode, size: Size) -> float:
        forwards = self._steps(mode) * (2 if mode.true_cfg_scale > 1 else 1)
        return self._gauge.expected(forwards * _FORWARD_SECONDS * size.pixels / _FORWARD_PIXELS)
