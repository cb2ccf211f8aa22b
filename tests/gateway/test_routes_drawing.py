from __future__ import annotations

import base64

import pytest

from gateway.answer_models import AnswerDocument
from tests.gateway.conftest import House, portrait
from tests.support.services import STEPS, picture


async def test_a_prompt_becomes_a_picture_with_its_seed_and_model(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "a man on a beach", "seed": 7})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    AnswerDocument.model_validate(document, strict=True)
    assert document["seed"] == 7
    assert document["steps"] == STEPS
    assert document["model"]["name"] == "likeness/fake"
    assert base64.b64decode(document["images"][0]["data"]).startswith(b"\x89PNG")
    assert document["request_id"] == answer.headers["x-request-id"]


async def test_every_field_reaches_the_generator(house: House) -> None:
    body = {
        "prompt": "p", "negative_prompt": "blur", "mode": "fast", "aspect_ratio": "9:16", "seed": 9, "n": 2, "steps": 5,
        "true_cfg_scale": 2, "trigger_word": "ohwx", "output_format": "jpeg", "quality": 80,
        "loras": [{"lora_id": "anna", "version": 2, "strength": 0.5}],
    }  # fmt: skip
    answer = await house.http.post("/qwen-image-2512", json=body)
    assert answer.status_code == 200, answer.text
    assert [image["seed"] for image in answer.json()["images"]] == [9, 10]
    request = house.generator.requests[0]
    assert (request.negative_prompt, request.mode, request.aspect_ratio, request.count) == ("blur", "fast", "9:16", 2)
    assert (request.steps, request.true_cfg_scale, request.trigger_word) == (5, 2.0, "ohwx")
    assert (request.output.quality, request.loras[0].lora_id, request.loras[0].strength) == (80, "anna", 0.5)


async def test_what_is_left_out_stays_the_services_own_choice(house: House) -> None:
    await house.http.post("/qwen-image-2512", json={"prompt": "p"})
    request = house.generator.requests[0]
    assert not any(request.HasField(name) for name in ("negative_prompt", "seed", "count", "steps", "true_cfg_scale"))


@pytest.mark.parametrize(
    ("route", "mode"),
    [("/qwen-faceswap", "full"), ("/qwen-image-2512-faceswap", "full"), ("/qwen-faceswap-fast", "fast")],
)
async def test_a_prompt_and_a_reference_become_a_picture_with_that_face(house: House, route: str, mode: str) -> None:
    answer = await house.http.post(route, json=portrait(aspect_ratio="9:16"))
    assert answer.status_code == 200, answer.text
    document = answer.json()
    AnswerDocument.model_validate(document, strict=True)
    image = document["images"][0]
    assert image["identity"] == {"before": 0.04, "after": 0.61}
    assert image["swap"]["restoration"] == {
        "applied": False, "reason": "the profile has no restorer", "model": "",
    }  # fmt: skip
    assert image["swap"]["target_faces"][0]["box"]["width"] == 120
    assert "original" not in image
    assert house.generator.requests[0].mode == mode
    assert house.faceswap.swaps[0].restore_face is True
    assert {"reference_stage_seconds", "drawing_stage_seconds", "swapping_stage_seconds"} <= set(document["timings"])


async def test_the_picture_before_the_swap_comes_along_when_asked_for(house: House) -> None:
    answer = await house.http.post("/qwen-faceswap", json=portrait(include_original=True, output_format="jpeg"))
    image = answer.json()["images"][0]
    assert image["media_type"] == "image/jpeg"
    assert base64.b64decode(image["original"]["data"]) == picture((200, 120, 80))
    # What was drawn goes to the swap without loss.
    assert house.faceswap.swaps[0].target_image.data == picture((200, 120, 80))


async def test_several_pictures_are_each_swapped(house: House) -> None:
    answer = await house.http.post("/qwen-faceswap-fast", json=portrait(n=3, seed=5))
    assert [image["seed"] for image in answer.json()["images"]] == [5, 6, 7]
    assert len(house.faceswap.swaps) == 3
    assert len(house.faceswap.detections) == 1


async def test_stored_pictures_are_answered_by_their_uri(house: House) -> None:
    answer = await house.http.post("/qwen-faceswap", json=portrait(store=True, include_original=True))
    image = answer.json()["images"][0]
    assert image["artifact_uri"].startswith("artifact://images/")
    assert image["original"]["artifact_uri"] == house.faceswap.swaps[0].target_image.artifact_uri
    assert "data" not in image
    assert image["url"] == image["artifact_uri"].replace("artifact://", "/v1/artifacts/")
    AnswerDocument.model_validate(answer.json(), strict=True)


@pytest.mark.parametrize(
    ("media_type", "magic"), [("image/png", b"\x89PNG"), ("image/jpeg", b"\xff\xd8"), ("image/webp", b"RIFF")]
)
async def test_a_client_that_accepts_a_picture_gets_it(house: House, media_type: str, magic: bytes) -> None:
    answer = await house.http.post("/qwen-faceswap", json=portrait(seed=3), headers={"Accept": media_type})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    assert answer.content.startswith(magic)
    assert answer.headers["x-likeness-seed"] == "3"
    assert answer.headers["x-likeness-identity-after"] == "0.6100"
    assert answer.headers["x-likeness-restoration"] == "not-applied"
    assert answer.headers["x-likeness-engine"] == "mesh"
    assert answer.headers["x-likeness-model"] == "likeness/fake@r1"


async def test_a_form_with_a_file_does_the_same_as_json(house: House) -> None:
    reference = picture((1, 2, 3), kind="JPEG")
    answer = await house.http.post(
        "/qwen-faceswap",
        data={"prompt": "a café", "seed": "11", "restore_face": "false", "n": "1"},
        files={"reference_image": ("me.jpg", reference, "image/jpeg")},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["seed"] == 11
    assert house.faceswap.detections[0].image.data == reference
    assert house.faceswap.swaps[0].restore_face is False


async def test_the_calls_metadata_travels_on(house: House) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Request-Id": "mine-1", "X-Tenant-Id": "acme", "traceparent": trace, "Idempotency-Key": "k1"}
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"}, headers=headers)
    assert answer.headers["x-request-id"] == "mine-1"
    metadata = house.generator.metadata[0]
    assert (metadata.request_id, metadata.tenant_id, metadata.idempotency_key) == ("mine-1", "acme", "k1")
    assert metadata.traceparent.split("-")[1] == trace.split("-")[1]
    assert metadata.traceparent != trace
