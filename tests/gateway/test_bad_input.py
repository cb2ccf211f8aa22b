"""Every bad input gets its status, its reason and its field, before anything expensive is done."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.answer_models import ProblemDocument
from gateway.errors import MAX_VIOLATIONS
from likeness.errors import LikenessError, NoFace, PromptTooLong, UnknownMode
from tests.gateway.conftest import House, portrait, serving_house


def assert_problem(answer: httpx.Response, status: int, reason: str, field: str | None) -> dict[str, Any]:
    """Hold an answer against what it should be, and return its document."""
    document: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    ProblemDocument.model_validate(document, strict=True)
    assert (answer.status_code, document["reason"], document.get("field")) == (status, reason, field), document
    assert document["status"] == status
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def form_text(value: bytes, name: bytes = b"prompt") -> bytes:
    """Return a form of one text."""
    return b'--x\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n--x--\r\n"


DRAWING_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": " \n\t"}, "prompt"),
    ({"prompt": "\u00a0\u200b\u3000\x00"}, "prompt"),
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": "x" * 4001}, "prompt"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": "p", "n": 0}, "n"),
    ({"prompt": "p", "n": 9}, "n"),
    ({"prompt": "p", "n": 10**9}, "n"),
    ({"prompt": "p", "n": 10**12}, "n"),
    ({"prompt": "p", "n": "2"}, "n"),
    ({"prompt": "p", "steps": 0}, "steps"),
    ({"prompt": "p", "steps": 10**9}, "steps"),
    ({"prompt": "p", "true_cfg_scale": 0.5}, "true_cfg_scale"),
    ({"prompt": "p", "true_cfg_scale": 21}, "true_cfg_scale"),
    ({"prompt": "p", "seed": -1}, "seed"),
    ({"prompt": "p", "seed": 2**53}, "seed"),
    ({"prompt": "p", "aspect_ratio": "7:1"}, "aspect_ratio"),
    ({"prompt": "p", "width": 8, "height": 256}, "width"),
    ({"prompt": "p", "mode": "a b"}, "mode"),
    ({"prompt": "p", "quality": 101}, "quality"),
    ({"prompt": "p", "output_format": "gif"}, "output_format"),
    ({"prompt": "p", "loras": [{"lora_id": "../x"}]}, "loras[0].lora_id"),
    ({"prompt": "p", "loras": [{"lora_id": "a", "strength": 9}]}, "loras[0].strength"),
    ({"prompt": "p", "timeout_seconds": 0}, "timeout_seconds"),
    ({"prompt": "p", "timeout_seconds": 10**6}, "timeout_seconds"),
    ({"prompt": "p", "promt": "q"}, "promt"),
]


@pytest.mark.parametrize(("body", "field"), DRAWING_FAULTS, ids=lambda value: str(value)[:50])
async def test_a_field_out_of_range_is_refused_by_its_name_in_rest(
    house: House, body: dict[str, Any], field: str
) -> None:
    answer = await house.http.post("/qwen-image-2512", json=body)
    document = assert_problem(answer, 400, "INVALID_REQUEST", field)
    assert document["errors"][0]["field"] == field
    assert not house.generator.requests


async def test_width_without_height_is_refused(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p", "width": 256})
    assert "width and height" in assert_problem(answer, 400, "INVALID_REQUEST", "width")["detail"]


async def test_a_size_and_an_aspect_ratio_are_refused(house: House) -> None:
    body = {"prompt": "p", "width": 256, "height": 256, "aspect_ratio": "1:1"}
    answer = await house.http.post("/qwen-image-2512", json=body)
    assert_problem(answer, 400, "INVALID_REQUEST", "aspect_ratio")


@pytest.mark.parametrize(
    "body",
    [{"loras": [{"lora_id": 1}] * 4000}, {f"field{number}": 1 for number in range(5000)}, {"loras": ["x"] * 5000}],
    ids=["wrong types", "unknown fields", "wrong items"],
)
async def test_an_answer_lists_no_more_violations_than_one_can_read(house: House, body: dict[str, Any]) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p", **body})
    document = answer.json()
    assert len(document["errors"]) == MAX_VIOLATIONS
    assert "more)" in document["detail"]
    assert len(answer.content) < 20_000


async def test_all_that_is_wrong_is_told_at_once(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "", "n": 9, "steps": 1000})
    assert {entry["field"] for entry in answer.json()["errors"]} == {"prompt", "n", "steps"}


@pytest.mark.parametrize(
    ("content", "media_type", "status", "reason", "field"),
    [
        (b"{", "application/json", 400, "INVALID_REQUEST", "body"),
        (b"", "application/json", 400, "INVALID_REQUEST", "body"),
        (b"[1]", "application/json", 400, "INVALID_REQUEST", "body"),
        (b'{"prompt":"p","true_cfg_scale":NaN}', "application/json", 400, "INVALID_REQUEST", "true_cfg_scale"),
        (b"[" * 100_000, "application/json", 400, "INVALID_REQUEST", "body"),
        (b'{"prompt":"\xff"}', "application/json", 400, "INVALID_REQUEST", "body"),
        (b"prompt=p", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE", "content-type"),
        (b"prompt", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE", "content-type"),
        (b"--x\r\n", "multipart/form-data", 400, "INVALID_REQUEST", "body"),
        (b"rubbish", "multipart/form-data; boundary=x", 400, "INVALID_REQUEST", "body"),
        (form_text(b"p"), "multipart/form-data; boundary=x; charset=undefined", 400, "INVALID_REQUEST", "body"),
        (form_text(b"p"), "multipart/form-data; boundary=x; charset=utf-16", 400, "INVALID_REQUEST", "body"),
        (form_text(b"\xff"), "multipart/form-data; boundary=x", 400, "INVALID_REQUEST", "prompt"),
        (form_text(b"p", b"\xff"), "multipart/form-data; boundary=x", 400, "INVALID_REQUEST", "body"),
        (
            form_text(b"[" + b"[]," * 99_999 + b"1]", b"loras"),
            "multipart/form-data; boundary=x",
            400,
            "INVALID_REQUEST",
            "loras",
        ),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    house: House, content: bytes, media_type: str, status: int, reason: str, field: str
) -> None:
    answer = await house.http.post("/qwen-image-2512", content=content, headers={"Content-Type": media_type})
    assert_problem(answer, status, reason, field)


async def test_a_form_holds_texts_of_any_language(house: House) -> None:
    await house.http.post("/qwen-image-2512", data={"prompt": "咖啡馆里的女人 – café"}, files={"n": (None, "1")})
    assert house.generator.requests[0].prompt == "咖啡馆里的女人 – café"


async def test_a_form_with_a_thousand_parts_is_refused(house: House) -> None:
    files = {f"f{number}": ("", b"x") for number in range(1001)}
    answer = await house.http.post("/qwen-image-2512", files=files)
    assert_problem(answer, 400, "INVALID_REQUEST", "body")


async def test_a_number_that_is_none_is_refused_in_a_form(house: House) -> None:
    answer = await house.http.post(
        "/qwen-image-2512", data={"prompt": "p", "true_cfg_scale": "nan"}, files={"n": (None, "1")}
    )
    assert_problem(answer, 400, "INVALID_REQUEST", "true_cfg_scale")


async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length() -> None:
    async with serving_house(max_body_bytes=2000) as house:
        large = b'{"prompt":"' + b"p" * 3000 + b'"}'
        headers = {"Content-Type": "application/json"}
        told = await house.http.post("/qwen-image-2512", content=large, headers=headers)
        assert_problem(told, 413, "PAYLOAD_TOO_LARGE", "body")

        async def chunks() -> Any:
            for start in range(0, len(large), 500):
                yield large[start : start + 500]

        untold = await house.http.post("/qwen-image-2512", content=chunks(), headers=headers)
        assert_problem(untold, 413, "PAYLOAD_TOO_LARGE", "body")


async def test_a_body_that_does_not_arrive_is_refused() -> None:
    async with serving_house(body_timeout_seconds=0.2) as house:
        reader, writer = await asyncio.open_connection(house.http.base_url.host, house.http.base_url.port)
        writer.write(
            b"POST /qwen-image-2512 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


@pytest.mark.parametrize(
    "error", [PromptTooLong("600 tokens", field="prompt"), UnknownMode("there is no such mode", field="mode")]
)
async def test_what_the_generator_refuses_is_refused(house: House, error: LikenessError) -> None:
    house.generator.error = error
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p", "mode": "slow"})
    assert_problem(answer, 400, error.reason, error.field)


async def test_a_drawing_without_a_face_is_the_prompts_fault(house: House) -> None:
    house.faceswap.swap_error = NoFace("the picture shows no face", field="target_image")
    answer = await house.http.post("/qwen-faceswap", json=portrait(prompt="a bowl of fruit", seed=3))
    document = assert_problem(answer, 422, "NO_FACE", "prompt")
    assert document["metadata"]["seed"] == "3"
    assert "seed 3" in document["detail"]


async def test_an_answer_that_is_one_picture_cannot_hold_several(house: House) -> None:
    headers = {"Accept": "image/png"}
    several = await house.http.post("/qwen-image-2512", json={"prompt": "p", "n": 2}, headers=headers)
    assert_problem(several, 400, "INVALID_REQUEST", "n")
    stored = await house.http.post("/qwen-image-2512", json={"prompt": "p", "store": True}, headers=headers)
    assert_problem(stored, 400, "INVALID_REQUEST", "store")
    other = await house.http.post("/qwen-image-2512", json={"prompt": "p", "output_format": "webp"}, headers=headers)
    assert_problem(other, 400, "INVALID_REQUEST", "output_format")


async def test_a_client_that_accepts_nothing_we_have_is_told(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"}, headers={"Accept": "video/mp4"})
    assert_problem(answer, 406, "NOT_ACCEPTABLE", "accept")


@pytest.mark.parametrize(
    ("name", "value"), [("X-Request-Id", "a b"), ("traceparent", "nonsense"), ("X-Tenant-Id", "x" * 65)]
)
async def test_a_header_that_breaks_its_limit_is_refused_by_name(house: House, name: str, value: str) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"}, headers={name: value})
    assert_problem(answer, 400, "INVALID_REQUEST", name.lower())


async def test_a_timeout_header_that_is_no_number_is_refused(house: House) -> None:
    for value in ("soon", "nan", "-1"):
        answer = await house.http.post("/qwen-image-2512", json={"prompt": "p"}, headers={"X-Timeout-Seconds": value})
        assert_problem(answer, 400, "INVALID_REQUEST", "x-timeout-seconds")


async def test_unknown_routes_and_methods_are_problems_too(house: House) -> None:
    assert_problem(await house.http.get("/nothing"), 404, "NOT_FOUND", None)
    answer = await house.http.get("/qwen-faceswap")
    assert_problem(answer, 405, "METHOD_NOT_ALLOWED", None)
    assert answer.headers["allow"] == "POST"


async def test_values_of_a_request_are_not_echoed(house: House) -> None:
    answer = await house.http.post("/qwen-image-2512", json={"prompt": "p", "n": "a secret"})
    assert "secret" not in answer.text
