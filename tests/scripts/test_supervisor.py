from __future__ import annotations

import os
import signal
import threading

import pytest

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


def test_an_error_ends_what_was_started_too() -> None:
    lines: list[str] = []
    with pytest.raises(ZeroDivisionError), Supervisor(lambda name, line: lines.append(line)) as supervisor:
        supervisor.start("generator", {})
        supervisor.address_of("generator", 30)
        raise ZeroDivisionError
    assert lines[-1] == "ended in order"


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
