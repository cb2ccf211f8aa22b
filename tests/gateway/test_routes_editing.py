from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from likeness.errors import InvalidRequest, NoFace, QueueFull
from tests.gateway.conftest import House, serving_gateway
from tests.support.fake_editor import EDITOR, FakeEditor, running_editor
from tests.support.services import (
    FakeFaceSwap,
    FakeGenerator,
    face,
    picture,
    running_faceswap,
    running_generator,
)

PICTURE = "data:image/png;base64," + base64.b64encode(picture((240, 200, 180))).decode()
EDIT = {"source_image": PICTURE, "instruction": "make it night"}
SCENE = {"character_image": PICTURE, "scene": "on a beach at sunset"}


@dataclass
class EditHouse(House):
    """A gateway with an editor behind it."""

    editor: FakeEditor


@asynccontextmanager
async def serving_edits(**settings: Any) -> AsyncIterator[EditHouse]:
    generator, faceswap, editor = FakeGenerator(), FakeFaceSwap(), FakeEditor()
    async with AsyncExitStack() as stack:
        addresses = {
            "generator_address": await stack.enter_async_context(running_generator(generator)),
            "faceswap_address": await stack.enter_async_context(running_faceswap(faceswap)),
            "editor_address": await stack.enter_async_context(running_editor(editor)),
        }
        http, server = await stack.enter_async_context(serving_gateway(**addresses, **settings))
        yield EditHouse(http, generator, faceswap, server, editor)


@pytest.fixture
async def edits() -> AsyncIterator[EditHouse]:
    async with serving_edits() as served:
        yield served


async def test_an_edit_is_answered_with_its_picture_and_how_it_was_made(edits: EditHouse) -> None:
    answer = await edits.http.post("/qwen-image-edit-2511", json={**EDIT, "denoise": 0.5, "steps": 12, "n": 2})
    document = answer.json()
    assert answer.status_code == 200
    assert [image["seed"] for image in document["images"]] == [42, 43]
    assert (document["denoise"], document["instruction"]) == (0.5, "make it night")
    request = edits.editor.requests[0]
    assert (request.denoise, request.steps, request.count, len(request.images)) == (0.5, 12, 2, 1)


async def test_several_pictures_keep_their_order_and_a_mask_goes_along(edits: EditHouse) -> None:
    further = [picture((1, 2, 3)), picture((4, 5, 6))]
    texts = [base64.b64encode(data).decode() for data in further]
    body = {**EDIT, "images": texts, "mask": PICTURE}
    assert (await edits.http.post("/qwen-image-edit-2511", json=body)).status_code == 200
    request = edits.editor.requests[0]
    assert [image.data for image in request.images][1:] == further
    assert request.HasField("mask")


async def test_a_form_is_taken(edits: EditHouse) -> None:
    files = [("source_image", picture()), ("images", picture((1, 2, 3)))]
    answer = await edits.http.post(
        "/qwen-image-edit-2511", data={"instruction": "night", "denoise": "0.3"}, files=files
    )
    assert answer.status_code == 200
    assert len(edits.editor.requests[0].images) == 2
    assert edits.editor.requests[0].denoise == pytest.approx(0.3)


async def test_the_picture_itself_is_answered(edits: EditHouse) -> None:
    answer = await edits.http.post("/qwen-image-edit-2511", json=EDIT, headers={"Accept": "image/webp"})
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-likeness-model"] == "likeness/fake-edit@r1"


async def test_events_tell_steps_and_previews(edits: EditHouse) -> None:
    headers = {"Accept": "text/event-stream"}
    answer = await edits.http.post("/qwen-image-edit-2511", json={**EDIT, "preview_every": 1}, headers=headers)
    events = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert events[0] == "queued"
    assert "preview" in events
    assert events[-2:] == ["image", "finished"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/qwen-image-edit-2511", {"instruction": "night"}, "source_image"),
        ("/qwen-image-edit-2511", {**EDIT, "images": [PICTURE] * 4}, "images"),
        ("/qwen-image-edit-2511", {**EDIT, "denoise": 0}, "denoise"),
        ("/qwen-image-edit-2511", {**EDIT, "denoise": 1.5}, "denoise"),
        ("/qwen-image-edit-2511", {**EDIT, "instruction": " "}, "instruction"),
        ("/qwen-image-edit-2511", {**EDIT, "source_image": "no picture"}, "source_image"),
        ("/qwen-image-edit-2511", {**EDIT, "images": ["R0lGODlhAQABAAAAACw="]}, "images[0]"),
        ("/qwen-image-edit-2511", {**EDIT, "mask": PICTURE, "width": 256, "height": 256}, None),
        ("/qwen-image-edit-2511", {**EDIT, "aspect_ratio": "1:1"}, "aspect_ratio"),
        ("/qwen-image-edit-2511", {**EDIT, "size": "512x512"}, "size"),
        ("/qwen-image-edit-2511", {**EDIT, "response_format": "url"}, "response_format"),
        ("/qwen-image-edit-2511", {**EDIT, "n": 9}, "n"),
        ("/qwen-character-scene", {"scene": "at sea"}, "character_image"),
        ("/qwen-character-scene", {**SCENE, "scene": ""}, "scene"),
        ("/qwen-character-scene", {**SCENE, "scene": "x" * 2001}, "scene"),
        ("/qwen-character-scene", {**SCENE, "images": [PICTURE], "lock_face": True}, "lock_face"),
        ("/qwen-character-scene", {**SCENE, "include_original": True}, "include_original"),
        ("/qwen-character-scene", {**SCENE, "rewrite_scene": True}, "rewrite_scene"),
    ],
)
async def test_what_cannot_be_done_is_refused_before_any_call(
    edits: EditHouse, path: str, body: dict[str, Any], field: str | None
) -> None:
    answer = await edits.http.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json().get("field") == field or field is None
    assert not edits.editor.requests
    assert not edits.faceswap.detections


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_what_is_no_finite_number_is_refused_with_its_field(edits: EditHouse, number: str) -> None:
    text = json.dumps({"denoise": 0.125, **EDIT}).replace("0.125", number)
    answer = await edits.http.post("/qwen-image-edit-2511", content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (400, "denoise")
    assert "finite" in answer.json()["detail"]
    files = [("source_image", picture())]
    form = await edits.http.post("/qwen-image-edit-2511", data={"instruction": "night", "denoise": number}, files=files)
    assert (form.status_code, form.json()["field"]) == (400, "denoise")


async def test_the_services_errors_carry_the_bodys_own_fields(edits: EditHouse) -> None:
    for field, shown in (("images[0].data", "source_image"), ("images[1].data", "images[0]"), ("mask", "mask")):
        edits.editor.error = InvalidRequest("too small", field=field)
        answer = await edits.http.post("/qwen-image-edit-2511", json={**EDIT, "images": [PICTURE], "mask": PICTURE})
        assert (answer.status_code, answer.json()["field"]) == (400, shown)
    edits.editor.error = QueueFull("full", retry_after_seconds=3.0)
    assert (await edits.http.post("/qwen-image-edit-2511", json=EDIT)).status_code == 503


async def test_a_scene_is_handed_on_as_a_scene_after_a_look_at_the_person(edits: EditHouse) -> None:
    answer = await edits.http.post("/qwen-character-scene", json=SCENE)
    assert answer.status_code == 200
    assert (edits.editor.requests[0].scene, edits.editor.requests[0].instruction) == ("on a beach at sunset", "")
    assert answer.json()["instruction"] == "there: on a beach at sunset"
    assert len(edits.faceswap.detections) == 1
    assert "identity" not in answer.json()["images"][0]


async def test_a_picture_without_a_person_is_refused_before_anything_is_drawn(edits: EditHouse) -> None:
    edits.faceswap.faces = []
    for body in (SCENE, {**SCENE, "lock_face": True}):
        answer = await edits.http.post("/qwen-character-scene", json=body)
        assert (answer.status_code, answer.json()["reason"], answer.json()["field"]) == (
            422,
            "NO_FACE",
            "character_image",
        )
    assert not edits.editor.requests


async def test_a_locked_face_is_swapped_into_each_result_with_its_identity_told(edits: EditHouse) -> None:
    body = {**SCENE, "lock_face": True, "n": 2, "include_original": True, "output_format": "jpeg"}
    document = (await edits.http.post("/qwen-character-scene", json=body)).json()
    assert [image["identity"] for image in document["images"]] == [{"before": 0.04, "after": 0.61}] * 2
    assert all(image["original"]["media_type"] == "image/png" for image in document["images"])
    assert all(image["media_type"] == "image/jpeg" for image in document["images"])
    assert len(edits.faceswap.swaps) == 2


async def test_a_locked_face_must_be_one(edits: EditHouse) -> None:
    edits.faceswap.faces = [face(), face(1)]
    answer = await edits.http.post("/qwen-character-scene", json={**SCENE, "lock_face": True})
    assert (answer.json()["reason"], answer.json()["field"]) == ("SEVERAL_FACES", "character_image")
    assert "2 faces" in answer.json()["detail"]
    assert "reference" not in answer.json()["detail"]


async def test_a_result_without_a_face_names_the_scene_and_the_seed(edits: EditHouse) -> None:
    edits.faceswap.swap_error = NoFace("no face", field="target_image")
    answer = await edits.http.post("/qwen-character-scene", json={**SCENE, "lock_face": True, "seed": 5})
    assert (answer.status_code, answer.json()["field"]) == (422, "scene")
    assert answer.json()["metadata"]["seed"] == "5"


async def test_the_editor_stops_when_the_client_goes_away(edits: EditHouse) -> None:
    edits.editor.gate = asyncio.Event()
    call = asyncio.create_task(edits.http.post("/qwen-image-edit-2511", json=EDIT))
    await edits.editor.waiting.wait()
    call.cancel()
    await asyncio.wait_for(edits.editor.cancelled.wait(), 10)


async def test_readiness_and_capabilities_tell_of_the_editor(edits: EditHouse) -> None:
    assert (await edits.http.get("/readyz")).json()["services"][EDITOR] == "SERVING"
    assert (await edits.http.get("/v1/capabilities")).json()["editor"]["max_images"] == 4


async def test_a_deployment_without_an_editor_says_so(house: House) -> None:
    for path, body in (("/qwen-image-edit-2511", EDIT), ("/qwen-character-scene", SCENE)):
        answer = await house.http.post(path, json=body)
        assert answer.status_code == 503
        assert "no editor" in answer.json()["detail"]
    assert EDITOR not in (await house.http.get("/readyz")).json()["services"]
    assert (await house.http.get("/v1/capabilities")).json()["editor"]["available"] is False
