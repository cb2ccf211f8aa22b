from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import httpx

from scripts.supervisor import ROOT


def start(**environment: str) -> subprocess.Popen[str]:
    """Start the gateway as a process."""
    variables: dict[str, Any] = {**os.environ, "LIKENESS_GATEWAY_PORT": "0", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway"], cwd=ROOT, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_process_tells_its_port_and_ends_well_on_sigterm() -> None:
    process = start()
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("gateway listens on 127.0.0.1:")
    answer = httpx.get(f"http://{line.split()[-1]}/healthz", trust_env=False)
    assert answer.json() == {"status": "ok"}
    httpx.get(f"http://{line.split()[-1]}/docs", trust_env=False)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert '"method": "GET /docs"' in log
    assert "/healthz" not in log  # a probe
    assert "Traceback" not in log


def test_settings_that_cannot_be_used_are_told() -> None:
    process = start(LIKENESS_GATEWAY_MAX_BODY_BYTES="many")
    _, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert log.startswith("gateway settings: max_body_bytes")


def test_a_setting_that_the_gateway_does_not_have_is_told() -> None:
    process = start(LIKENESS_GATEWAY_QUEUE_CAPACITY="4")
    _, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "LIKENESS_GATEWAY_QUEUE_CAPACITY: unknown key 'queue_capacity'" in log


def test_a_port_that_is_taken_is_told_with_the_services_exit_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(LIKENESS_GATEWAY_PORT=str(taken.getsockname()[1]))
        _, log = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "is the port taken?" in log


def test_neither_the_gateway_nor_the_client_loads_a_model_library() -> None:
    code = (
        "import gateway.__main__, likeness.cli, likeness.sync, sys; "
        "print({'torch', 'onnxruntime', 'diffusers', 'transformers', 'cv2'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
    code = (
        "import likeness.cli, likeness.sync, sys; print({n.split('.')[0] for n in sys.modules} & {'core', 'gateway'})"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
