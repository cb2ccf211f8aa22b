from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from likeness.errors import NonFiniteResult, QueueFull
from tests.gateway.conftest import House, portrait
from tests.support.services import STEPS


async def events_of(house: House, path: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and data of a stream's events."""
    answer = await house.http.post(path, json=body, headers={"Accept": "text/event-stream"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    events = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


async def test_a_drawing_tells_of_its_progress(house: House) -> None:
    events = await events_of(house, "/qwen-image-2512", {"prompt": "p", "seed": 1})
    assert [name for name, _ in events] == ["queued", "started", *["step"] * STEPS, "image", "finished"]
    assert events[2][1] == {"stage": "drawing", "image_index": 0, "step": 1, "total_steps": STEPS}
    assert events[-2][1]["data"]
    assert events[-1][1]["seed"] == 1


async def test_a_composition_tells_of_each_stage(house: House) -> None:
    events = await events_of(house, "/qwen-faceswap", portrait())
    stages = [data["stage"] for name, data in events if name == "started"]
    assert stages == ["drawing", "swapping"]
    assert "reference_stage_seconds" in events[-1][1]["timings"]
    assert events[-2][1]["identity"]["after"] == 0.61


async def test_what_fails_before_the_drawing_keeps_its_own_status(house: House) -> None:
    accept = {"Accept": "text/event-stream"}
    house.generator.error = QueueFull("16 pieces of work wait", retry_after_seconds=3)
    answer = await house.http.post("/qwen-faceswap", json=portrait(), headers=accept)
    assert (answer.status_code, answer.json()["reason"]) == (503, "QUEUE_FULL")
    house.faceswap.faces = []
    answer = await house.http.post("/qwen-faceswap", json=portrait(), headers=accept)
    assert (answer.status_code, answer.json()["reason"]) == (422, "NO_FACE")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_fault_on_the_way_is_the_last_event(house: House) -> None:
    house.generator.error_after_steps = NonFiniteResult("the picture holds NaN")
    events = await events_of(house, "/qwen-faceswap", portrait())
    name, problem = events[-1]
    assert name == "error"
    assert (problem["reason"], problem["status"], problem["instance"]) == ("NON_FINITE_RESULT", 500, "/qwen-faceswap")


async def test_a_stream_that_says_nothing_for_long_is_kept_alive(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.event_stream.KEEPALIVE_SECONDS", 0.05)
    house.generator.gate = asyncio.Event()
    request = house.http.stream(
        "POST", "/qwen-image-2512", json={"prompt": "p"}, headers={"Accept": "text/event-stream"}
    )
    async with request as answer:
        text = ""
        async for chunk in answer.aiter_text():
            text += chunk
            if ": still working" in text:
                house.generator.gate.set()
    assert "event: finished" in text
