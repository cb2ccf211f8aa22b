"""Measures LoRA training of Qwen-Image at full size on one GPU, with random weights, against the plain way.

    python -m bench.train_full_size [--device cuda:0] [--output train_full_size.json] [--budget-seconds 330]

The plain way is what diffusers and peft do by themselves: an eager bfloat16 model under autocast, blocks computed
again in the backward pass, AdamW over float32 weights. Both have latents and text embeddings cached. For each variant:
seconds to make and to the first step, seconds a step, peak memory, how many blocks are computed again, and the loss at
the beginning and the end. The file is written after every variant; what the budget left no time for is named in it.
Random weights say nothing of pictures: only time and memory mean something here.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import QwenImageTransformer2DModel
from peft import LoraConfig
from torch.nn import functional

from bench.gauge import Gauge
from bench.random_model import Architecture, build_transformer, full_architecture, tiny_architecture
from bench.report import OutOfBudget, Report, machine
from core.qwen.compiling import count_graphs
from core.qwen.profile import Size
from core.qwen.text import TextEmbedding
from core.training.base import make_trainable, release
from core.training.loop import Example, Optimisation
from core.training.memory import FallbackLadder
from core.training.settings import Hyperparameters, ResolutionShare
from weights.recipe.architecture import build_scheduler

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TOKENS = 96
EXAMPLES = 4
PATCH = 16
GOAL_SECONDS = 0.5
"""A step at 1024²."""


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    ours: bool
    storage: str = "full"
    compiled: bool = False


VARIANTS = (
    Variant("float8-compiled", ours=True, storage="float8", compiled=True),
    Variant("bfloat16-compiled", ours=True, compiled=True),
    Variant("plain", ours=False),
    Variant("bfloat16", ours=True),
    Variant("float8", ours=True, storage="float8"),
)
"""What matters most comes first."""


@dataclass(frozen=True)
class Loop:
    """A loop that is ready to step."""

    step: Callable[[], float]
    """Takes one step and returns its loss; what the device was told is done when it returns."""
    recomputed: Callable[[], int]
    """How many blocks are computed again in the backward pass."""
    trained: int
    """Weights that are trained."""


class Bench:
    """One run on one device."""

    def __init__(self, arguments: argparse.Namespace, report: Report) -> None:
        """Measure as ``arguments`` say."""
        self._device = torch.device(arguments.device)
        self._gauge = Gauge(self._device)
        self._architecture: Architecture = tiny_architecture() if arguments.tiny else full_architecture()
        self._compiler: str = arguments.compiler
        self._side: int = arguments.side
        self._rank: int = arguments.rank
        self._warmup: int = arguments.warmup_steps
        self._steps: int = arguments.steps
        self._report = report

    def run(self, variants: Sequence[Variant]) -> None:
        """Measure the variants one after the other, each with a model of its own."""
        for index, variant in enumerate(variants):
            try:
                self._report.check_budget()
                self._measure(variant)
            except OutOfBudget:
                rest = ", ".join(other.name for other in variants[index:])
                self._report.leave_out(rest, "the budget is spent")
                return
            except torch.OutOfMemoryError as error:
                self._report.leave_out(variant.name, f"memory does not suffice: {str(error).splitlines()[0]}")
            finally:
                # The next variant needs the memory, and its graphs are its own.
                torch._dynamo.reset()
                release(self._device)

    def _measure(self, variant: Variant) -> None:
        self._gauge.reset_peak()
        graphs, began = count_graphs(), time.perf_counter()
        transformer = build_transformer(self._architecture, self._device)
        examples = self._examples(transformer)
        loop = self._ours(variant, transformer, examples) if variant.ours else self._plain(transformer, examples)
        del transformer
        made = time.perf_counter()
        losses, seconds = [loop.step()], []
        first = time.perf_counter()
        for _ in range(self._warmup - 1):
            losses.append(loop.step())
        for _ in range(self._steps):
            self._report.check_budget()
            start = time.perf_counter()
            losses.append(loop.step())
            seconds.append(time.perf_counter() - start)
        figures = {
            "make_seconds": round(made - began, 2),
            "first_step_seconds": round(first - made, 2),
            "seconds_per_step": round(statistics.median(seconds), 4),
            "slowest_step_seconds": round(max(seconds), 4),
            "minutes_for_1000_steps": round(statistics.median(seconds) * 1000 / 60, 2),
            "recomputed_blocks": loop.recomputed(),
            "trained_weights": loop.trained,
            "graphs": count_graphs() - graphs,
            "first_loss": round(losses[0], 4),
            "last_loss": round(losses[-1], 4),
            **self._gauge.peak(),
        }
        self._report.add(variant.name, f"{self._side}x{self._side}", figures)

    def _examples(self, transformer: QwenImageTransformer2DModel) -> list[Example]:
        """Return what stands in for cached latents and embeddings."""
        generator = torch.Generator().manual_seed(5)
        tokens, width = (self._side // PATCH) ** 2, transformer.config["joint_attention_dim"]
        return [
            Example(
                latents=torch.randn(1, tokens, transformer.config["in_channels"], generator=generator),
                text=TextEmbedding(torch.randn(1, TEXT_TOKENS, width, generator=generator).to(transformer.dtype), None),
                size=Size(width=self._side, height=self._side),
                side=self._side,
                face=(0.3, 0.2, 0.7, 0.6),
            )
            for _ in range(EXAMPLES)
        ]

    def _settings(self, storage: str) -> Hyperparameters:
        total = self._warmup + self._steps
        return Hyperparameters(
            steps=total,
            warmup_steps=min(2, total - 1),
            rank=self._rank,
            targets=TARGETS,
            base_storage=storage,  # type: ignore[arg-type]
            resolutions=(ResolutionShare(side=self._side),),
        )

    def _ours(self, variant: Variant, transformer: QwenImageTransformer2DModel, examples: list[Example]) -> Loop:
        """The trainer's own loop, with blocks computed again only as far as memory forces."""
        base = make_trainable(
            transformer,
            build_scheduler(),
            self._settings(variant.storage),
            device=self._device,
            compiler=self._compiler if variant.compiled else None,
        )
        run = Optimisation(base, examples, [], self._settings(variant.storage), PATCH)
        ladder = FallbackLadder(run)
        order = run.order()

        def step() -> float:
            batch = next(order)
            while True:
                try:
                    loss = run.advance(batch).loss
                    break
                except torch.OutOfMemoryError as error:
                    run.optimizer.zero_grad(set_to_none=True)
                    ladder.descend(error)
                release(self._device)
            self._wait()
            return loss

        trained = sum(parameter.numel() for parameter in base.parameters.values())
        return Loop(step, lambda: run.recomputed_blocks, trained)

    def _plain(self, transformer: QwenImageTransformer2DModel, examples: list[Example]) -> Loop:
        """The loop of a usual script."""
        transformer.requires_grad_(False)
        transformer.add_adapter(
            LoraConfig(r=self._rank, lora_alpha=self._rank, target_modules=list(TARGETS), init_lora_weights="gaussian")
        )
        trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.data = parameter.data.float()
        transformer.enable_gradient_checkpointing()
        transformer.train()
        optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)
        rows = self._side // PATCH
        done = iter(range(1_000_000))

        def step() -> float:
            example = examples[next(done) % len(examples)]
            clean = example.latents.to(self._device)
            noise = torch.randn_like(clean)
            sigma = torch.sigmoid(torch.randn(1, device=self._device))
            noisy = (1 - sigma) * clean + sigma * noise
            with self._autocast(transformer.dtype):
                predicted = transformer(
                    hidden_states=noisy.to(transformer.dtype),
                    timestep=sigma,
                    encoder_hidden_states=example.text.states.to(self._device),
                    encoder_hidden_states_mask=None,
                    img_shapes=[[(1, rows, rows)]],
                    return_dict=False,
                )[0]
            loss = functional.mse_loss(predicted.float(), noise - clean)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            value = float(loss.detach())
            self._wait()
            return value

        return Loop(step, lambda: len(transformer.transformer_blocks), sum(p.numel() for p in trained))

    @contextlib.contextmanager
    def _autocast(self, dtype: torch.dtype) -> Iterator[None]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            yield

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--output", type=Path, default=Path("train_full_size.json"))
    parser.add_argument("--side", type=int, default=1024, help="of the square pictures, a multiple of 16")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12, help="steps that are measured")
    parser.add_argument("--warmup-steps", type=int, default=3, help="steps before them, at least one")
    parser.add_argument("--budget-seconds", type=float, default=330, help="take no step after that")
    parser.add_argument("--variants", nargs="+", default=[variant.name for variant in VARIANTS])
    parser.add_argument("--compiler", default="inductor", help="backend of torch.compile")
    parser.add_argument("--tiny", action="store_true", help="a model of two blocks in float32, to try this script")
    chosen = parser.parse_args(arguments)
    known = {variant.name: variant for variant in VARIANTS}
    unknown = [name for name in chosen.variants if name not in known]
    if unknown:
        parser.error(f"unknown variants {', '.join(unknown)}: choose from {', '.join(known)}")
    if chosen.side % PATCH or chosen.warmup_steps < 1 or chosen.steps < 1:
        parser.error("--side must be a multiple of 16, --steps and --warmup-steps at least 1")
    device = torch.device(chosen.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    facts = {"device": name, "machine": machine("torch", "diffusers", "peft"), "tiny": chosen.tiny}
    report = Report(chosen.output, chosen.budget_seconds, rank=chosen.rank, goal_seconds=GOAL_SECONDS, **facts)
    Bench(chosen, report).run([known[variant] for variant in chosen.variants])
    report.write()


if __name__ == "__main__":
    main()
