"""Random requests against a faceswap process over gRPC: does its memory stay flat, and is every answer right?

Swaps of small pictures in three formats, of groups, by face models that come and go; detection and comparison; clients
that leave, deadlines that cannot be met, and bad input, several at once. The same two swaps are made again and again:
their pictures must stay equal to the bit. The exit status is 1 when an answer was wrong or memory grew.

    python -m bench.soak_faceswap [--requests 1800] [--seed 1] [--clients 4] [--output bench/results/soak_faceswap.json]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.report import machine
from bench.soak_faces import FaceTraffic
from bench.soak_outcome import OK
from bench.soak_run import READY_SECONDS, Soak, finish, free_port, option_parser, wait_until_serving
from likeness.client import FACESWAP_HEALTH, AsyncClient
from scripts import supervisor as supervision
from scripts.supervisor import Supervisor

OBJECT_SLACK = 0.02
"""Growth of the number of Python's objects after the warm-up: connections and log records come and go."""


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Start a faceswap service, send the traffic, and return the figures.

    Raises SupervisionError when it does not start.
    """
    supervision.MODULES["faceswap"] = "bench.soak_faceswap_service"
    metrics_port = free_port()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Supervisor(lambda name, line: lines.append(line)) as supervisor:
        settings: dict[str, str | int | float] = {
            "port": 0,
            "metrics_port": metrics_port,
            "threads": options.threads,
            "artifacts_url": folder,
            "log_level": "WARNING",
            "queue_capacity": 4 * options.clients,
        }
        supervisor.start("faceswap", settings)
        address = supervisor.address_of("faceswap", READY_SECONDS)
        async with AsyncClient(faceswap_address=address) as client:
            await wait_until_serving(client, FACESWAP_HEALTH, supervisor)
            run = Soak(client, metrics_port, FaceTraffic(choice=random.Random(options.seed)), options.clients)
            began = time.perf_counter()
            await run.run(options.requests)
            seconds = time.perf_counter() - began
        supervisor.check()
    swaps = sum(outcome.case.arguments["call"] == "swap" and outcome.ended == OK for outcome in run.outcomes)
    return {
        "machine": machine("onnxruntime", "opencv-python-headless"),
        "requests": options.requests,
        "swaps": swaps,
        "seed": options.seed,
        "clients": options.clients,
        "threads": options.threads,
        **run.figures(seconds, OBJECT_SLACK),
        # The first line tells the address.
        "warnings_in_log": lines[1:],
    }


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, the process's own when left out."""
    return option_parser(__doc__, 1800).parse_args(arguments)


def main() -> int:
    """Soak, print the figures, and return the exit status."""
    options = parse_options()
    return finish(asyncio.run(soak(options)), options.output)


if __name__ == "__main__":
    sys.exit(main())
