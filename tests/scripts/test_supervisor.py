from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from scripts import supervisor as module
from scripts.supervisor import SupervisionError, Supervisor, ending_on_signals


@pytest.fixture(autouse=True)
def small_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start small processes in place of the services."""
    monkeypatch.setattr(module, "MODULES", {"generator": "tests.support.process"})


def test_leaving_the_context_ends_what_was_started_in_order() -> None:
    lines: list[tuple[str, str]] = []
    with Supervisor(lambda name, line: lines.append((name, line))) as supervisor:
        supervisor.start("generator", {"behaviour": "serve"})
        assert supervisor.address_of("generator", 30) == "127.0.0.1:1"
        supervisor.check()
    assert lines[-1] == ("generator", "ended in order")


def test_what_was_started_last_has_ended_before_the_next_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODULES", dict.fromkeys(("generator", "gateway"), "tests.support.process"))
    ended: list[str] = []

    def hear(name: str, line: str) -> None:
        if line == "ended in order":
            ended.append(name)
            alive.append(generator.popen.poll() is None)

    alive: list[bool] = []
    with Supervisor(hear) as supervisor:
        for name in ("generator", "gateway"):
            supervisor.start(name, {})
            supervisor.address_of(name, 30)
        generator = supervisor._processes[0]
    assert ended == ["gateway", "generator"]
    assert alive[0]


def test_an_error_ends_what_was_started_too() -> None:
    lines: list[str] = []
    with pytest.raises(ZeroDivisionError), Supervisor(lambda name, line: lines.append(line)) as supervisor:
        supervisor.start("generator", {})
        supervisor.address_of("generator", 30)
        raise ZeroDivisionError
    assert lines[-1] == "ended in order"


def test_a_parent_that_is_killed_takes_its_processes_along() -> None:
    code = (
        "from scripts import supervisor as s; s.MODULES = {'generator': 'tests.support.process'}; "
        "v = s.Supervisor(lambda name, line: None); v.start('generator', {}); v.address_of('generator', 30); "
        "print(v._processes[0].popen.pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=module.ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.kill()
        assert select.select([child], [], [], 30)[0], "the process outlives its parent"
    finally:
        os.close(child)
        parent.communicate()


def test_a_process_that_ends_by_itself_is_an_error_with_its_last_words() -> None:
    with Supervisor(lambda name, line: None) as supervisor:
        supervisor.start("generator", {"behaviour": "fail"})
        with pytest.raises(SupervisionError, match="the weights are missing"):
            supervisor.address_of("generator", 30)
        with pytest.raises(SupervisionError, match="status 3"):
            supervisor.watch()


def test_a_ctrl_c_that_arrives_twice_ends_what_was_started_in_order() -> None:
    lines: list[str] = []
    with (
        pytest.raises(KeyboardInterrupt),
        ending_on_signals(),
        Supervisor(lambda name, line: lines.append(line)) as supervisor,
    ):
        supervisor.start("generator", {})
        supervisor.address_of("generator", 30)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(10)
    assert lines[-1] == "ended in order"


def test_a_second_ctrl_c_kills_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAME_SIGNAL_SECONDS", 0.0)
    lines: list[str] = []

    def hear(name: str, line: str) -> None:
        lines.append(line)
        if line == "ending takes for ever":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), ending_on_signals(), Supervisor(hear) as supervisor:
        supervisor.start("generator", {"behaviour": "stubborn"})
        supervisor.address_of("generator", 30)
    assert lines[-1] == "ending takes for ever"


def test_a_process_serves_when_its_health_service_says_so() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Supervisor(lambda name, line: None) as supervisor:
            supervisor.start("generator", {"port": port})
            assert supervisor.addresses() == {"generator": f"127.0.0.1:{port}"}
            health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            with pytest.raises(SupervisionError, match="generator did not serve"):
                supervisor.wait_serving("generator", 0.1)
            health.set("", health_pb2.HealthCheckResponse.SERVING)
            supervisor.wait_serving("generator", 30)
    finally:
        server.stop(None).wait()
