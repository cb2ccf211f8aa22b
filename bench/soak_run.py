"""What the soaks share: sending random requests to a process, looking at its memory, and judging both."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import socket
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import Gauge

from bench.soak_outcome import Case, Outcome
from likeness.client import AsyncClient
from scripts.supervisor import SupervisionError, Supervisor

READY_SECONDS = 180.0
METRIC = "soak_objects"
"""The metric by which a soaked process tells how many things it holds."""
CHECKPOINTS = 20
LEAST_PART = 10
WARM_UP_SHARE = 0.3
"""The part of the requests in which caches fill: what grows there is no leak."""
RSS_SLACK = 0.05
"""Growth of the resident memory after the warm-up that the allocator may cause by itself."""


class Traffic(Protocol):
    """Random requests to one kind of service."""

    @property
    def choice(self) -> random.Random:
        """What draws."""
        ...

    def warm_up(self) -> list[Case]:
        """Return cases after which caches are filled."""
        ...

    def draw(self) -> Case:
        """Return a random case."""
        ...

    def probes(self) -> list[Case]:
        """Return the cases whose answers have to stay equal to the bit."""
        ...

    async def run(self, client: AsyncClient, case: Case) -> Outcome:
        """Send a case and say how it ended. Raises nothing that the deployment could cause."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """The process's memory while nothing ran."""

    requests: int
    rss_mib: float
    objects: int
    """How many things the process counts: tensors, or all that Python's collector knows."""


def count_objects(kind: type | None = None) -> None:
    """Give this process a metric of the objects that are alive, of one class or of any; garbage is not counted."""

    def count() -> int:
        gc.collect()
        things = gc.get_objects()
        # By the type alone: isinstance asks each object for its __class__, at which deprecated ones warn.
        return len(things) if kind is None else sum(issubclass(type(thing), kind) for thing in things)

    Gauge(METRIC, "Objects that are alive.").set_function(count)


class Soak:
    """The traffic against one process, and what came of it."""

    def __init__(self, client: AsyncClient, metrics_port: int, traffic: Traffic, clients: int) -> None:
        """Send ``traffic`` by ``client``, so many requests at once."""
        self._client = client
        self._metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._traffic = traffic
        self._clients = clients
        self._probes = traffic.probes()
        self._digests: list[set[str]] = [set() for _ in self._probes]
        self.outcomes: list[Outcome] = []
        self.checkpoints: list[Checkpoint] = []

    @property
    def wrong(self) -> list[str]:
        """What ended otherwise than it may, in words."""
        told = [
            f"{outcome.case.kind} ended as {outcome.ended} {'; '.join(outcome.faults)}: {dict(outcome.case.arguments)}"
            for outcome in self.outcomes
            if not outcome.right
        ]
        changed = [
            f"probe {index} drew {len(seen)} pictures" for index, seen in enumerate(self._digests) if len(seen) > 1
        ]
        return told + changed

    async def run(self, requests: int) -> None:
        """Send so many requests, and look at the memory after every twentieth part of them, at least ten."""
        await self._send(self._traffic.warm_up())
        await self._look()
        done = 0
        while done < requests:
            part = min(max(LEAST_PART, requests // CHECKPOINTS), requests - done)
            cases = [self._traffic.draw() for _ in range(part)]
            # Among the others: what runs before and beside must not matter.
            places = self._traffic.choice.sample(range(part + 1), min(len(self._probes), part + 1))
            for place, probe in zip(places, self._probes, strict=False):
                cases.insert(place, probe)
            await self._send(cases)
            done += part
            await self._look(done)
            print(f"{done} of {requests} requests, {self.checkpoints[-1]}, {len(self.wrong)} wrong", flush=True)

    async def _send(self, cases: Sequence[Case]) -> None:
        left = iter(cases)

        async def work() -> None:
            for case in left:
                outcome = await self._traffic.run(self._client, case)
                self.outcomes.append(outcome)
                if case in self._probes:
                    self._digests[self._probes.index(case)].add(outcome.digest)

        await asyncio.gather(*(work() for _ in range(self._clients)))

    async def _look(self, done: int = 0) -> None:
        # A client that left may have left work behind, up to the end of its step: what is asked after it ends after it.
        await self._send(self._probes[:1])

        def fetch() -> str:
            with urllib.request.urlopen(self._metrics_url, timeout=60) as answer:
                return str(answer.read().decode())

        text = await asyncio.to_thread(fetch)

        def value(name: str) -> float:
            found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
            return float(found[1]) if found else 0.0

        rss = value("process_resident_memory_bytes") / 2**20
        self.checkpoints.append(Checkpoint(done, round(rss, 1), int(value(METRIC))))

    def figures(self, seconds: float, object_slack: float = 0.0) -> dict[str, Any]:
        """Return what came of it, as JSON."""
        return {
            "seconds": round(seconds, 1),
            "outcomes": counted(self.outcomes),
            "wrong": self.wrong,
            "memory_flat": memory_is_flat(self.checkpoints, object_slack),
            "checkpoints": [asdict(point) for point in self.checkpoints],
        }


def memory_is_flat(checkpoints: Sequence[Checkpoint], object_slack: float = 0.0) -> bool:
    """Tell whether memory stayed as the warm-up had left it: no object more, and hardly more resident memory.

    ``object_slack`` is the part by which the count may grow all the same.
    """
    warm = int(len(checkpoints) * WARM_UP_SHARE)
    settled = checkpoints[warm:]
    half = len(settled) // 2
    if half == 0:
        raise ValueError("too few checkpoints to tell")
    before, after = settled[:half], settled[half:]
    rss_limit = statistics.median(point.rss_mib for point in before) * (1 + RSS_SLACK)
    return (
        max(point.objects for point in after) <= max(point.objects for point in before) * (1 + object_slack)
        and statistics.median(point.rss_mib for point in after) <= rss_limit
    )


def counted(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    """Return how often each kind of case ended in which way."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.case.kind, Counter())[outcome.ended] += 1
    return {kind: dict(sorted(ways.items())) for kind, ways in sorted(counts.items())}


async def wait_until_serving(client: AsyncClient, service: str, supervisor: Supervisor) -> None:
    """Return when the service of this gRPC name serves. Raises SupervisionError when it ends or takes too long."""
    ends = time.monotonic() + READY_SECONDS
    while (await client.health()).get(service) != "SERVING":
        supervisor.check()
        if time.monotonic() > ends:
            raise SupervisionError(f"the service was not ready within {READY_SECONDS:.0f} s")
        await asyncio.sleep(0.2)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def option_parser(description: str | None, requests: int) -> argparse.ArgumentParser:
    """Return a parser of the options that every soak has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=requests, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices (%(default)s)")
    parser.add_argument("--clients", type=int, default=4, help="requests at once (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the process (%(default)s)")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    return parser


def finish(figures: dict[str, Any], output: Path | None) -> int:
    """Print and write the figures; return the exit status: 1 when an answer was wrong or memory grew."""
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    if output:
        output.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if figures["memory_flat"] and not figures["wrong"] else 1
