"""Measures whole calls of the generator over gRPC on loopback, by mode, with the time of each stage.

python -m bench.generate [--profile miniature] [--profile-file FILE] [--device cpu] [--threads 2] [--runs 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc.aio

from core.runtime.server import running_service
from likeness.generator.v1.generator_service_pb2 import GenerateFinished, GenerateRequest, GetCapabilitiesRequest
from likeness.generator.v1.generator_service_pb2_grpc import GeneratorServiceStub
from services.generator.service import make_spec
from services.generator.settings import GeneratorSettings

PROMPT = "a professional woman with long brown hair and a blue shirt in a modern office"
STAGES = ("queue", "encode", "denoise", "decode")


async def call(stub: Any, mode: str, aspect_ratio: str, seed: int) -> tuple[float, GenerateFinished]:
    """Draw one picture and return the seconds that the client waited, and the last event."""
    began = time.perf_counter()
    request = GenerateRequest(prompt=PROMPT, mode=mode, aspect_ratio=aspect_ratio, seed=seed)
    events = [event async for event in stub.Generate(request)]
    return time.perf_counter() - began, events[-1].finished


async def measure(settings: GeneratorSettings, runs: int) -> None:
    """Start the service, and print one line of a Markdown table for each mode and shape."""
    began = time.perf_counter()
    async with running_service(make_spec(settings), settings) as address:
        print(f"Ready after {time.perf_counter() - began:.2f} s (loading and one picture in each mode).\n")
        options = [("grpc.max_receive_message_length", settings.max_message_bytes)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            stub: Any = GeneratorServiceStub(channel)
            capabilities = await stub.GetCapabilities(GetCapabilitiesRequest())
            model = capabilities.model
            print(f"{model.name} {model.revision}, {model.precision} on {model.device}, {settings.threads} threads\n")
            print("| mode | size | steps | whole call, median | fastest | " + " | ".join(STAGES) + " |")
            print("|---|---|---|---|---|" + "---|" * len(STAGES))
            for mode in capabilities.modes:
                for aspect_ratio in ("1:1", "9:16"):
                    results = [await call(stub, mode.name, aspect_ratio, seed) for seed in range(runs)]
                    print(row(mode.name, results), flush=True)


def row(mode: str, results: list[tuple[float, GenerateFinished]]) -> str:
    """One line of the table: seconds of the whole call, and the medians of its stages."""
    seconds = [result[0] for result in results]
    last = results[-1][1]
    stages = [
        statistics.median(getattr(result[1].timings, stage).ToNanoseconds() / 1e9 for result in results)
        for stage in STAGES
    ]
    cells = [mode, f"{last.width}×{last.height}", str(last.steps)]
    cells += [f"{statistics.median(seconds):.3f} s", f"{min(seconds):.3f} s", *(f"{stage:.3f} s" for stage in stages)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="miniature")
    parser.add_argument("--profile-file", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as artifacts:
        values: dict[str, Any] = {
            "port": 0,
            "profile": arguments.profile,
            "profile_file": arguments.profile_file,
            "device": arguments.device,
            "artifacts_url": artifacts,
        }
        if arguments.threads:
            values["threads"] = arguments.threads
        asyncio.run(measure(GeneratorSettings.load(**values), arguments.runs))


if __name__ == "__main__":
    main()
