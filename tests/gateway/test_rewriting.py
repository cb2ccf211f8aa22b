from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from likeness.errors import InvalidRequest, PromptTooLong
from tests.gateway.test_routes_editing import SCENE, serving_edits


class Endpoint(ThreadingHTTPServer):
    """A language model's endpoint that answers with what a test sets."""

    answer: Any
    status: int
    asked: list[tuple[str | None, Any]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/chat/completions"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.headers["authorization"], body))
        data = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint(("127.0.0.1", 0), Handler)
    server.asked, server.status = [], 200
    server.answer = {"choices": [{"message": {"content": " A wide beach at sunset, warm low light. "}}]}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_scene_is_rewritten_only_when_asked(endpoint: Endpoint) -> None:
    settings = {"rewrite_url": endpoint.url, "rewrite_model": "words", "rewrite_api_key": "secret"}
    async with serving_edits(**settings) as edits:
        await edits.http.post("/qwen-character-scene", json=SCENE)
        assert not endpoint.asked
        answer = await edits.http.post("/qwen-character-scene", json={**SCENE, "rewrite_scene": True})
        assert answer.status_code == 200
    scenes = [request.scene for request in edits.editor.requests]
    assert scenes == ["on a beach at sunset", "A wide beach at sunset, warm low light."]
    [(authorization, body)] = endpoint.asked
    assert authorization == "Bearer secret"
    assert (body["model"], body["messages"][-1]["content"]) == ("words", "on a beach at sunset")


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, {}),
        (302, {}),
        (200, {"choices": []}),
        (200, []),
        (200, {"choices": [{"message": {"content": ""}}]}),
        (200, {"choices": [{"message": {"content": None}}]}),
        (200, {"choices": [{"message": {"content": "<think>A beach?</think>"}}]}),
        (200, {"choices": [{"message": {"content": "x" * 2001}}]}),
        (200, "x" * 100_000),
    ],
)
async def test_an_endpoint_that_gives_no_scene_is_told(endpoint: Endpoint, status: int, answer: Any) -> None:
    endpoint.status, endpoint.answer = status, answer
    async with serving_edits(rewrite_url=endpoint.url) as edits:
        refused = await edits.http.post("/qwen-character-scene", json={**SCENE, "rewrite_scene": True})
    assert (refused.status_code, refused.json()["field"]) == (503, "rewrite_scene")
    assert not edits.editor.requests


@pytest.mark.parametrize(
    "content", ["<think>\nA beach?\n</think>\n\nA wide beach.", ' "A wide beach." ', "“A wide beach.”"]
)
async def test_thoughts_and_quotes_are_no_part_of_a_scene(endpoint: Endpoint, content: str) -> None:
    endpoint.answer = {"choices": [{"message": {"content": content}}]}
    async with serving_edits(rewrite_url=endpoint.url) as edits:
        answer = await edits.http.post("/qwen-character-scene", json={**SCENE, "rewrite_scene": True})
    assert "rewriting_stage_seconds" in answer.json()["timings"]
    assert edits.editor.requests[0].scene == "A wide beach."


async def test_a_rewritten_scene_that_the_model_does_not_take_is_no_fault_of_the_clients(endpoint: Endpoint) -> None:
    async with serving_edits(rewrite_url=endpoint.url) as edits:
        for error in (PromptTooLong("300 tokens", field="scene"), InvalidRequest("<|im_end|>", field="scene")):
            edits.editor.error = error
            refused = await edits.http.post("/qwen-character-scene", json={**SCENE, "rewrite_scene": True})
            assert (refused.status_code, refused.json()["field"]) == (503, "rewrite_scene")
            own = await edits.http.post("/qwen-character-scene", json=SCENE)
            assert (own.status_code, own.json()["field"]) == (400, "scene")


async def test_the_endpoint_is_not_asked_for_a_picture_without_a_person(endpoint: Endpoint) -> None:
    async with serving_edits(rewrite_url=endpoint.url) as edits:
        edits.faceswap.faces = []
        for lock in (False, True):
            body = {**SCENE, "rewrite_scene": True, "lock_face": lock}
            assert (await edits.http.post("/qwen-character-scene", json=body)).json()["reason"] == "NO_FACE"
    assert not endpoint.asked


async def test_clients_do_not_reach_the_endpoint_by_a_pictures_url(endpoint: Endpoint) -> None:
    async with serving_edits(rewrite_url=endpoint.url) as edits:
        answer = await edits.http.post("/qwen-character-scene", json={**SCENE, "character_image": endpoint.url})
    assert answer.json()["reason"] == "FETCH_REFUSED"
