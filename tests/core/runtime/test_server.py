"""A service's process: signals, and starts that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.support.calls import PATIENCE

PROGRAM = """
import sys, time
from core.runtime.server import ServiceSpec, run_service
from core.runtime.settings import ServiceSettings

class Settings(ServiceSettings):
    service = "generator"

def load():
    if sys.argv[1] == "fail":
        raise RuntimeError("no weights here")
    if sys.argv[1] == "hang":
        time.sleep(600)

spec = ServiceSpec("generator", ("a.B",), load, lambda server, loaded: None)
raise SystemExit(run_service(lambda settings: spec, Settings))
"""


def start(mode: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def wait_for(stream: Any, message: str) -> dict[str, Any]:
    for line in stream:
        record = json.loads(line)
        if record["message"] == message:
            return dict(record)
    raise AssertionError(f"the process ended without {message!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(number: signal.Signals) -> None:
    process = start("serve")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("generator listens on 127.0.0.1:")
    assert wait_for(process.stderr, "ready")["service"] == "generator"
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert [json.loads(line)["message"] for line in errors.splitlines()] == ["stopping"]


def test_a_signal_ends_a_process_that_still_loads() -> None:
    process = start("hang")
    wait_for(process.stderr, "listening")
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_a_failed_load_ends_the_process_with_an_error() -> None:
    process = start("fail")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "no weights here" in json.loads(errors.splitlines()[-1])["exception"]


def test_bad_settings_end_the_process_with_their_name() -> None:
    process = start("serve", LIKENESS_GENERATOR_PORT="70000")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "generator settings: port" in errors
