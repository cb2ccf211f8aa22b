"""Random requests against a generator process over gRPC: does its memory stay flat, and is every answer right?

Sizes, modes, LoRAs, priorities, previews, clients that leave, deadlines that cannot be met, and bad input, several at
once. The same two requests are made again and again: their pictures must stay equal to the bit. The exit status is 1
when an answer was wrong or memory grew.

    python -m bench.soak [--requests 500] [--seed 1] [--clients 4] [--output bench/results/soak.json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from bench.report import machine
from bench.soak_run import READY_SECONDS, Soak, finish, free_port, option_parser, wait_until_serving
from bench.soak_traffic import Traffic
from core.qwen.loading import find_weights
from core.qwen.profile import load_profile
from likeness.client import GENERATOR_HEALTH, AsyncClient
from scripts import supervisor as supervision
from scripts.supervisor import ROOT, Supervisor

TARGETS = ("attn.to_q", "attn.to_v", "attn.to_out.0")


def random_lora(profile: str, rank: int, seed: int) -> bytes:
    """Make a LoRA of random numbers, as a safetensors file, for the attention of every block of a profile's model."""
    loaded = load_profile(profile)
    folder = find_weights(loaded, weights_dir=ROOT / "weights", offline=True)
    config = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
    width = config["num_attention_heads"] * config["attention_head_dim"]
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(config["num_layers"]):
        for target in TARGETS:
            key = f"transformer.transformer_blocks.{layer}.{target}"
            weights[f"{key}.lora_A.weight"] = torch.randn(rank, width, generator=generator) * 0.05
            weights[f"{key}.lora_B.weight"] = torch.randn(width, rank, generator=generator) * 0.05
    file: bytes = save(weights)
    return file


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Start a generator, send the traffic, and return the figures. Raises SupervisionError when it does not start."""
    supervision.MODULES["generator"] = "bench.soak_generator"
    profile = str(options.profile_file or options.profile)
    metrics_port = free_port()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Supervisor(lambda name, line: lines.append(line)) as supervisor:
        settings: dict[str, str | int | float] = {
            "port": 0,
            "metrics_port": metrics_port,
            "profile": options.profile,
            "threads": options.threads,
            "artifacts_url": folder,
            "log_level": "WARNING",
            # Less room than LoRAs, so that they come and go.
            "lora_cache_count": 2,
            "queue_capacity": 4 * options.clients,
        }
        if options.profile_file:
            settings["profile_file"] = str(options.profile_file)
        supervisor.start("generator", settings)
        address = supervisor.address_of("generator", READY_SECONDS)
        async with AsyncClient(address) as client:
            await wait_until_serving(client, GENERATOR_HEALTH, supervisor)
            loras = []
            for index, rank in enumerate((2, 4, 8)):
                lora = await client.register_lora(f"soak-{index}", random_lora(profile, rank, index))
                loras.append(lora.lora_id)
            traffic = Traffic(await client.generator_capabilities(), loras, random.Random(options.seed))
            run_ = Soak(client, metrics_port, traffic, options.clients)
            began = time.perf_counter()
            await run_.run(options.requests)
            seconds = time.perf_counter() - began
        supervisor.check()
    return {
        "machine": machine("torch"),
        "requests": options.requests,
        "seed": options.seed,
        "clients": options.clients,
        "threads": options.threads,
        "profile": profile,
        **run_.figures(seconds),
        # The first line tells the address.
        "warnings_in_log": lines[1:],
    }


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, the process's own when left out."""
    parser = option_parser(__doc__, 500)
    parser.add_argument("--profile", default="miniature", help="(%(default)s)")
    parser.add_argument("--profile-file", type=Path, help="a profile of one's own")
    return parser.parse_args(arguments)


def main() -> int:
    """Soak, print the figures, and return the exit status."""
    options = parse_options()
    return finish(asyncio.run(soak(options)), options.output)


if __name__ == "__main__":
    sys.exit(main())
