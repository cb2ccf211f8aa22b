"""How much the gateway adds to a picture of 1.5 MB over the direct gRPC call, and how many it delivers a second.

A generator without a model, the gateway, and this client are three processes on loopback.

    python -m bench.gateway [--bytes 1500000] [--calls 300] [--clients 8]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np

from core.runtime.server import ServiceSpec, run_service
from core.runtime.settings import ServiceSettings
from gateway.server import keep_large_buffers
from likeness.client import AsyncClient
from likeness.common.v1 import image_pb2
from likeness.generator.v1 import generator_service_pb2 as generator
from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from scripts import supervisor as supervision
from scripts.supervisor import Supervisor

SIZE_VARIABLE = "LIKENESS_BENCH_BYTES"
WARM_UP_CALLS = 30
Call = Callable[[], Awaitable[int]]


class PictureServicer(generator_grpc.GeneratorServiceServicer):
    """Answers at once with one picture of the wanted size; its bytes are noise after the head of a PNG."""

    def __init__(self, size: int) -> None:
        """Answer with ``size`` bytes."""
        self._data = b"\x89PNG\r\n\x1a\n" + os.urandom(size - 8)

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[generator.GenerateResponse]:
        """Answer with the picture and the finishing event."""
        image = image_pb2.Image(data=self._data, media_type="image/png", width=1024, height=1024, sha256="0" * 64)
        yield generator.GenerateResponse(image=generator.GeneratedImage(image=image))
        yield generator.GenerateResponse(finished=generator.GenerateFinished(mode="full"))

    async def GetCapabilities(self, request: Any, context: Any) -> generator.GetCapabilitiesResponse:
        """Tell nothing: the benchmark does not ask."""
        return generator.GetCapabilitiesResponse()


def serve_pictures() -> int:
    """Serve pictures until SIGTERM: the role of the generator's process."""
    servicer = PictureServicer(int(os.environ[SIZE_VARIABLE]))

    class Settings(ServiceSettings):
        service = "generator"

    spec = ServiceSpec(
        name="generator",
        service_names=("likeness.generator.v1.GeneratorService",),
        load=lambda: servicer,
        register=lambda server, loaded: generator_grpc.add_GeneratorServiceServicer_to_server(loaded, server),
    )
    return run_service(lambda settings: spec, Settings)


class HttpConnection:
    """A kept connection that does as little as it can, so that the client is not what is measured."""

    def __init__(self, address: str, accept: str) -> None:
        """Ask ``address`` for answers of the media type ``accept``."""
        self._address = address
        body = json.dumps({"prompt": "p"}).encode()
        self._request = (
            f"POST /qwen-image-2512 HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self) -> int:
        """Send one request and return the size of its body. Raises RuntimeError for a status other than 200."""
        if self._streams is None:
            host, port = self._address.split(":")
            self._streams = await asyncio.open_connection(host, int(port), limit=4 * 2**20)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return len(await reader.readexactly(length))

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def latencies(call: Call, calls: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the milliseconds of ``calls`` calls, one after another."""
    for _ in range(WARM_UP_CALLS):
        await call()
    times = np.empty(calls)
    for index in range(calls):
        started = time.perf_counter()
        await call()
        times[index] = (time.perf_counter() - started) * 1000
    return times


async def throughput(workers: list[Call], calls: int) -> float:
    """Return the calls a second that all workers reach together."""
    left = iter(range(calls))

    async def work(call: Call) -> None:
        for _ in left:
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(work(call) for call in workers))
    return calls / (time.perf_counter() - started)


async def measure(generator_address: str, gateway_address: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures: milliseconds and calls a second, for gRPC, for the picture itself and for JSON."""
    figures: dict[str, Any] = {"bytes": options.bytes, "calls": options.calls, "clients": options.clients}

    async def report(name: str, make: Callable[[], Call]) -> None:
        workers = [make() for _ in range(options.clients)]
        times = await latencies(workers[0], options.calls)
        figures[name] = {
            "p50_ms": round(float(np.percentile(times, 50)), 2),
            "p99_ms": round(float(np.percentile(times, 99)), 2),
            "per_second": round(await throughput(workers, options.calls * 2), 1),
        }
        for worker in workers:
            if isinstance(worker, HttpConnection):
                worker.close()

    async with AsyncClient(generator_address) as client:

        async def direct() -> int:
            return len((await client.generate("p")).pictures[0].picture.data or b"")

        await report("grpc", lambda: direct)
    await report("gateway_picture", lambda: HttpConnection(gateway_address, "image/png"))
    await report("gateway_json", lambda: HttpConnection(gateway_address, "application/json"))
    for name in ("gateway_picture", "gateway_json"):
        figures[name]["added_p50_ms"] = round(figures[name]["p50_ms"] - figures["grpc"]["p50_ms"], 2)
        figures[name]["added_p99_ms"] = round(figures[name]["p99_ms"] - figures["grpc"]["p99_ms"], 2)
    return figures


def main() -> int:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1_500_000, help="size of the picture (%(default)s)")
    parser.add_argument("--calls", type=int, default=300, help="calls of each measurement (%(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="connections of the throughput (%(default)s)")
    parser.add_argument("--log", action="store_true", help="show what the processes write")
    options = parser.parse_args()
    keep_large_buffers()
    os.environ[SIZE_VARIABLE] = str(options.bytes)
    supervision.MODULES["generator"] = "bench.gateway_pictures"

    def sink(name: str, line: str) -> None:
        if options.log:
            print(f"{name} | {line}", file=sys.stderr)

    with Supervisor(sink) as supervisor:
        supervisor.start("generator", {"port": 0, "log_level": "WARNING"})
        generator_address = supervisor.address_of("generator", 60)
        supervisor.start("gateway", {"port": 0, "generator_address": generator_address, "log_level": "WARNING"})
        gateway_address = supervisor.address_of("gateway", 60)
        print(json.dumps(asyncio.run(measure(generator_address, gateway_address, options)), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
