from __future__ import annotations

import base64
from typing import Any

import pytest

from likeness.generator.v1 import generator_service_pb2 as generator
from tests.gateway.conftest import House, portrait
from tests.gateway.test_delivery import events_of


@pytest.mark.parametrize(("route", "body"), [("/qwen-image-2512", {"prompt": "p"}), ("/qwen-faceswap", portrait())])
async def test_previews_come_as_events_between_the_steps(house: House, route: str, body: dict[str, Any]) -> None:
    events = await events_of(house, route, {**body, "preview_every": 3})
    names = [name for name, _ in events]
    place = names.index("preview")
    assert names[place - 3 : place + 2] == ["step", "step", "step", "preview", "step"]
    document = events[place][1]
    assert (document["stage"], document["image_index"], document["step"], document["total_steps"]) == (
        "drawing",
        0,
        3,
        4,
    )
    assert document["media_type"] == "image/jpeg"
    assert base64.b64decode(document["data"]).startswith(b"\xff\xd8")


@pytest.mark.parametrize("accept", ["application/json", "image/png"])
async def test_previews_that_nobody_would_see_are_refused(house: House, accept: str) -> None:
    body = {"prompt": "p", "preview_every": 1}
    answer = await house.http.post("/qwen-image-2512", json=body, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["field"]) == (400, "preview_every")
    assert house.generator.requests == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("high", generator.PRIORITY_HIGH), ("normal", generator.PRIORITY_NORMAL), ("low", generator.PRIORITY_LOW)],
)
async def test_priority_reaches_the_generator(house: House, text: str, value: int) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p", "priority": text})
    assert answer.status_code == 200, answer.text
    answer = await house.http.post("/qwen-image-2512", files={"prompt": (None, "p"), "priority": (None, text)})
    assert answer.status_code == 200, answer.text
    assert [request.priority for request in house.generator.requests] == [value, value]


async def test_a_priority_that_is_none_is_refused(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p", "priority": "urgent"})
    assert (answer.status_code, answer.json()["field"]) == (400, "priority")
    assert "high, normal, low" in answer.json()["detail"]
