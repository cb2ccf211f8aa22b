"""Starts the services and the gateway as processes of this machine, watches them, and stops all that it started."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "generator": "services.generator",
    "faceswap": "services.faceswap",
    "editor": "services.editor",
    "trainer": "services.trainer",
    "gateway": "gateway",
}
STOP_SECONDS = 40.0
"""How long a process may take to end by itself: the services' own drain, and a little more."""
SAME_SIGNAL_SECONDS = 1.0
TAIL_LINES = 15
# Without these glibc gives each large buffer back to the kernel, which clears it for the next request.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(256 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20)}
_LISTENS = re.compile(r"^\w+ listens on (\S+)$")

LineSink = Callable[[str, str], None]
"""Gets the name of a process and one line that it wrote."""


class SupervisionError(RuntimeError):
    """A process did not start, or ended by itself; the message holds its last lines."""


@dataclass
class _Process:
    name: str
    popen: subprocess.Popen[str]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    address: str = ""
    told: threading.Event = field(default_factory=threading.Event)
    """Set when the address is known, or when the output has ended."""
    reader: threading.Thread | None = None


class Supervisor:
    """Processes that live as long as this context: leaving it, by error or by Ctrl-C too, stops them all."""

    def __init__(self, sink: LineSink) -> None:
        """Hand every line that a process writes to ``sink``."""
        self._sink = sink
        self._processes: list[_Process] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Supervisor:
        """Return the supervisor."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all processes."""
        self.stop()

    def start(self, name: str, settings: Mapping[str, str | int | float]) -> None:
        """Start a process of `MODULES` with settings of its own, which go to it by its environment."""
        environment = {**os.environ, **MALLOC, "PYTHONUNBUFFERED": "1"}
        environment |= {f"LIKENESS_{name.upper()}_{key.upper()}": str(value) for key, value in settings.items()}
        popen = subprocess.Popen(
            [sys.executable, "-m", "scripts.child", str(os.getpid()), MODULES[name]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # In a session of its own: Ctrl-C reaches us alone, and we say in which order they end.
            start_new_session=True,
        )
        process = _Process(name, popen)
        if port := settings.get("port"):
            process.address = f"127.0.0.1:{port}"
            process.told.set()
        self._processes.append(process)
        assert popen.stdout is not None
        process.reader = threading.Thread(target=self._read, args=(process, popen.stdout), daemon=True)
        process.reader.start()

    def address_of(self, name: str, timeout_seconds: float) -> str:
        """Return where a process listens, ``host:port``: when started with port 0, once it says so.

        Raises SupervisionError.
        """
        process = next(process for process in self._processes if process.name == name)
        if not process.told.wait(timeout_seconds):
            raise SupervisionError(f"{name} did not listen within {timeout_seconds:.0f} s{_tail(process)}")
        if not process.address:
            self.check()
            raise SupervisionError(f"{name} ended before it listened{_tail(process)}")
        return process.address

    def addresses(self) -> dict[str, str]:
        """Return where the processes listen, as far as that is known, by their names."""
        return {process.name: process.address for process in self._processes if process.address}

    def wait_serving(self, name: str, timeout_seconds: float) -> None:
        """Return when the health service of one process says that it serves.

        Raises SupervisionError when a process ends, or when it takes too long.
        """
        address = self.address_of(name, timeout_seconds)
        pause = threading.Event()
        with grpc.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for _ in range(int(timeout_seconds / 0.2) + 1):
                self.check()
                with contextlib.suppress(grpc.RpcError):
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                pause.wait(0.2)
        raise SupervisionError(f"{name} did not serve within {timeout_seconds:.0f} s")

    def check(self) -> None:
        """Raise SupervisionError when a process has ended by itself."""
        for process in self._processes:
            if process.popen.poll() is not None:
                if process.reader is not None:
                    process.reader.join(5)
                raise SupervisionError(f"{process.name} ended with status {process.popen.returncode}{_tail(process)}")

    def wait_ready(
        self, gateway_address: str, timeout_seconds: float, waiting: Callable[[dict[str, str]], None]
    ) -> None:
        """Return when the gateway says that every service serves; tell ``waiting`` their states meanwhile.

        Raises SupervisionError when a process ends, or when it takes too long.
        """
        pause = threading.Event()
        for _ in range(int(timeout_seconds / 0.2) + 1):
            self.check()
            states = _readiness(gateway_address)
            if states is not None and all(state == "SERVING" for state in states.values()):
                return
            waiting(states or {})
            pause.wait(0.2)
        raise SupervisionError(f"the services were not ready within {timeout_seconds:.0f} s")

    def watch(self) -> None:
        """Return never: raise SupervisionError when a process ends."""
        while True:
            self.check()
            with self._changed:
                self._changed.wait(1.0)

    def stop(self) -> None:
        """End the processes; what does not end in time is killed, and so is the rest at another Ctrl-C.

        One after the other, the last one first: what the gateway still has to end needs the services.
        """
        ends = time.monotonic() + STOP_SECONDS
        try:
            for process in reversed(self._processes):
                process.popen.terminate()
                _wait(process, ends)
        except BaseException:
            for process in self._processes:
                process.popen.kill()
                _wait(process, ends)
            raise
        finally:
            self._processes.clear()

    def _read(self, process: _Process, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                text = line.rstrip("\n")
                process.tail.append(text)
                match = _LISTENS.match(text)
                if match is not None and not process.address:
                    process.address = match[1]
                    process.told.set()
                self._sink(process.name, text)
        process.told.set()
        with self._changed:
            self._changed.notify_all()


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt, so that all of them stop what was started.

    One Ctrl-C often arrives twice: from the terminal, and from make, which tells its children. What comes within
    `SAME_SIGNAL_SECONDS` counts once.
    """
    last = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _readiness(address: str) -> dict[str, str] | None:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/readyz")
        states: dict[str, str] = json.load(connection.getresponse())["services"]
        return states
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
    finally:
        connection.close()


def _wait(process: _Process, ends: float) -> None:
    """Return when a process has ended; kill it when it has not at ``ends``, on the clock of time.monotonic."""
    try:
        process.popen.wait(max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.popen.kill()
        process.popen.wait()
    if process.reader is not None:
        process.reader.join(5)


def _tail(process: _Process) -> str:
    return "".join(f"\n  {process.name} | {line}" for line in process.tail)
