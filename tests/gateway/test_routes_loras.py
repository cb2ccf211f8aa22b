from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.loras import LoraListDocument, LoraRemovalDocument, RegisteredLoraDocument
from likeness.errors import InvalidRequest, LoraNotFound
from tests.gateway.conftest import House, portrait

WEIGHTS = b"the bytes of a safetensors file"


async def test_a_lora_draws_with_its_strength_and_trigger_word(house: House) -> None:
    body = {
        "prompt": "a café",
        "lora_id": "anna",
        "lora_strength": 0.5,
        "trigger_word": "ohwx",
        "mode": "fast",
        "seed": 3,
    }
    answer = await house.http.post("/qwen-image-2512-lora", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["seed"] == 3
    request = house.generator.requests[0]
    assert (request.mode, request.trigger_word) == ("fast", "ohwx")
    assert [(lora.lora_id, lora.version, lora.strength) for lora in request.loras] == [("anna", 0, 0.5)]


async def test_strength_is_one_and_the_version_the_newest_when_left_out(house: House) -> None:
    await house.http.post("/qwen-image-2512-lora", json={"prompt": "p", "lora_id": "anna"})
    lora = house.generator.requests[0].loras[0]
    assert (lora.version, lora.strength) == (0, 1.0)


async def test_further_loras_stand_behind_the_first(house: House) -> None:
    body = {"prompt": "p", "lora_id": "anna", "lora_version": 2, "loras": [{"lora_id": "style", "strength": 0.3}]}
    assert (await house.http.post("/qwen-image-2512-lora", json=body)).status_code == 200
    assert [(lora.lora_id, lora.version) for lora in house.generator.requests[0].loras] == [("anna", 2), ("style", 0)]


async def test_every_drawing_route_takes_loras(house: House) -> None:
    loras = [{"lora_id": "anna", "version": 3}]
    for route in ("/qwen-image-2512", "/qwen-faceswap", "/qwen-faceswap-fast", "/qwen-image-2512-faceswap"):
        body = {"prompt": "p", "loras": loras} if route == "/qwen-image-2512" else portrait(loras=loras)
        answer = await house.http.post(route, json=body)
        assert answer.status_code == 200, answer.text
        assert house.generator.requests[-1].loras[0].version == 3


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"lora_id": "../x"}, "lora_id"),
        ({"lora_strength": 9}, "lora_strength"),
        ({"lora_version": -1}, "lora_version"),
        ({"loras": [{"lora_id": "a", "strength": 9}]}, "loras[0].strength"),
        ({"loras": [{"lora_id": "a"}] * 4}, "loras"),
        ({"lora_strength": "1"}, "lora_strength"),
        ({"lora_version": 2**40}, "lora_version"),
        ({"lora": "anna"}, "lora"),
    ],
)
async def test_a_wrong_field_has_the_bodys_own_name(house: House, fields: dict[str, Any], field: str) -> None:
    answer = await house.http.post("/qwen-image-2512-lora", json={"prompt": "p", "lora_id": "anna", **fields})
    assert answer.status_code == 400
    document = answer.json()
    assert document["field"] == field
    assert "loras[0].lora_id" not in document["detail"]
    assert not house.generator.requests


@pytest.mark.parametrize(("told", "field"), [("loras[0].lora_id", "lora_id"), ("loras[2].lora_id", "loras[1].lora_id")])
async def test_what_the_generator_refuses_has_the_bodys_own_name(house: House, told: str, field: str) -> None:
    house.generator.error = LoraNotFound("no such LoRA", field=told)
    answer = await house.http.post("/qwen-image-2512-lora", json={"prompt": "p", "lora_id": "anna"})
    assert (answer.status_code, answer.json()["reason"], answer.json()["field"]) == (404, "LORA_NOT_FOUND", field)


async def test_a_missing_lora_id_is_told(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512-lora", json={"prompt": "p"})
    assert (answer.status_code, answer.json()["field"]) == (400, "lora_id")


async def test_a_file_is_registered_from_a_form_and_from_json(house: House) -> None:
    form = await house.http.post(
        "/loras/anna", data={"trigger_word": "ohwx"}, files={"file": ("a.safetensors", WEIGHTS)}
    )
    json = await house.http.post("/loras/anna", json={"file": base64.b64encode(WEIGHTS).decode()})
    for answer, version in ((form, 1), (json, 2)):
        assert answer.status_code == 201, answer.text
        RegisteredLoraDocument.model_validate(answer.json(), strict=True)
        assert answer.json()["version"] == version
    assert form.json()["trigger_word"] == "ohwx"
    assert house.generator.loras.files == [WEIGHTS, WEIGHTS]


async def test_a_stored_file_is_registered_by_its_uri(house: House) -> None:
    uri = f"artifact://training/{'a' * 64}.safetensors"
    answer = await house.http.post("/loras/anna", json={"artifact_uri": uri})
    assert answer.status_code == 201, answer.text
    assert house.generator.loras.uris == [uri]


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("/loras/anna", {}, "file"),
        ("/loras/anna", {"file": "AAAA", "artifact_uri": "artifact://a/b"}, "file"),
        ("/loras/anna", {"file": "no base64!"}, "file"),
        ("/loras/anna", {"file": ""}, "file"),
        ("/loras/anna", {"artifact_uri": "../x"}, "artifact_uri"),
        ("/loras/anna", {"file": "AAAA", "trigger_word": "x" * 101}, "trigger_word"),
        ("/loras/An%20na", {"file": "AAAA"}, "lora_id"),
        ("/loras/anna", {"file": "AAAA", "strength": 1}, "strength"),
    ],
)
async def test_what_cannot_be_registered_is_refused_before_a_call(
    house: House, route: str, body: dict[str, Any], field: str
) -> None:
    answer = await house.http.post(route, json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert not house.generator.loras.request_ids


@pytest.mark.parametrize(("told", "field"), [("chunk", "file"), ("start.trigger_word", "trigger_word")])
async def test_a_refused_file_is_told_with_the_bodys_field(house: House, told: str, field: str) -> None:
    house.generator.loras.error = InvalidRequest("it holds keys that are not known", field=told)
    answer = await house.http.post("/loras/anna", files={"file": ("a.safetensors", WEIGHTS)})
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_loras_are_listed_shown_and_removed(house: House) -> None:
    for name in ("carl", "anna", "bob", "anna"):
        await house.http.post(f"/loras/{name}", files={"file": ("a.safetensors", WEIGHTS)})
    first = (await house.http.get("/loras", params={"page_size": 2})).json()
    LoraListDocument.model_validate(first, strict=True)
    second = (await house.http.get("/loras", params={"page_size": 2, "page_token": first["next_page_token"]})).json()
    names = [(lora["lora_id"], lora["version"]) for page in (first, second) for lora in page["loras"]]
    assert names == [("anna", 2), ("bob", 1), ("carl", 1)]
    shown = await house.http.get("/loras/anna", params={"version": 1})
    assert (shown.json()["version"], shown.json()["create_time"]) == (1, "2027-01-15T08:00:00.000Z")
    removed = await house.http.delete("/loras/anna", params={"version": 1})
    LoraRemovalDocument.model_validate(removed.json(), strict=True)
    assert removed.json() == {"lora_id": "anna", "versions": [1]}
    assert (await house.http.delete("/loras/anna")).json()["versions"] == [2]
    for answer in (await house.http.get("/loras/anna"), await house.http.delete("/loras/anna")):
        assert (answer.status_code, answer.json()["reason"], answer.json()["field"]) == (
            404,
            "LORA_NOT_FOUND",
            "lora_id",
        )


@pytest.mark.parametrize(
    ("route", "field"),
    [
        ("/loras?page_size=-1", "page_size"),
        ("/loras?page_size=1001", "page_size"),
        ("/loras?page_token=" + "x" * 257, "page_token"),
        ("/loras/anna?version=-1", "version"),
        ("/loras/anna?version=x", "version"),
        ("/loras/anna?version=99999999999", "version"),
        ("/loras/..%2e", "lora_id"),
    ],
)
async def test_a_bad_query_names_its_field(house: House, route: str, field: str) -> None:
    answer = await house.http.get(route)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_the_page_tells_the_routes_and_their_limits(house: House) -> None:
    document = (await house.http.get("/openapi.json")).json()
    assert {"/qwen-image-2512-lora", "/loras", "/loras/{lora_id}"} <= document["paths"].keys()
    schema = document["components"]["schemas"]["LoraDrawBody"]
    assert schema["required"] == ["prompt", "lora_id"]
    assert schema["properties"]["lora_strength"]["minimum"] == -4
    assert document["components"]["schemas"]["LoraFileBodyForm"]["properties"]["file"]["format"] == "binary"
