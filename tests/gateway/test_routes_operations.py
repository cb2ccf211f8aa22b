from __future__ import annotations

import httpx

from likeness.errors import ERRORS
from tests.gateway.conftest import House, serving_gateway
from tests.support.services import FACESWAP, GENERATOR, unused_address


async def test_health_answers_also_when_the_services_are_down() -> None:
    addresses = {"generator_address": unused_address(), "faceswap_address": unused_address()}
    async with serving_gateway(**addresses) as (http, _):
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["services"] == {GENERATOR: "UNREACHABLE", FACESWAP: "UNREACHABLE"}
        capabilities = (await http.get("/v1/capabilities")).json()
        assert capabilities["generator"]["available"] is False
        assert capabilities["faceswap"]["reason"] == "SERVICE_UNAVAILABLE"


async def test_ready_when_all_services_serve(house: House) -> None:
    ready = await house.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


async def test_not_ready_while_shutting_down(house: House) -> None:
    house.server.lifecycle.drain()
    ready = await house.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")


async def test_capabilities_of_both_services(house: House) -> None:
    document = (await house.http.get("/v1/capabilities")).json()
    assert document["generator"]["modes"][0]["name"] == "full"
    assert document["faceswap"]["engines"] == ["mesh"]


async def test_metrics_count_requests_by_route_and_status(house: House) -> None:
    await house.http.post("/qwen-image-2512", json={"prompt": "p"})
    await house.http.get("/made/up/by/a/client")
    text = (await house.http.get("/metrics")).text
    assert 'method="POST /qwen-image-2512"' in text
    assert "made/up" not in text


async def test_head_answers_where_get_does(house: House) -> None:
    for path in ("/", "/docs", "/healthz", "/readyz", "/openapi.json"):
        whole, head = await house.http.get(path), await house.http.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
    assert (await house.http.head("/faceswap")).status_code == 405


async def test_a_path_that_is_not_quite_there_leads_nowhere(house: House) -> None:
    for path in ("/docs/", "/faceswap/", "//example.com/docs/"):
        answer = await house.http.get(path, headers={"Host": "example.com"})
        assert answer.status_code == 404
        assert "location" not in answer.headers


async def test_the_root_leads_to_a_page_that_needs_nothing_from_elsewhere(house: House) -> None:
    page: httpx.Response = await house.http.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert "https://" not in page.text
    script = await house.http.get("/docs/static/swagger-ui-bundle.js")
    assert script.status_code == 200


async def test_the_page_documents_routes_limits_and_every_error(house: House) -> None:
    document = (await house.http.get("/openapi.json")).json()
    post = document["paths"]["/qwen-faceswap"]["post"]
    assert set(post["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert {"image/png", "text/event-stream", "application/json"} <= set(post["responses"]["200"]["content"])
    schema = document["components"]["schemas"]["PortraitBody"]["properties"]
    assert (schema["n"]["minimum"], schema["n"]["maximum"], schema["prompt"]["maxLength"]) == (1, 8, 4000)
    examples = {
        reason
        for status, response in post["responses"].items()
        if status != "200"
        for reason in response["content"]["application/problem+json"]["examples"]
    }
    assert {"NO_FACE", "QUEUE_FULL", "IMAGE_TOO_LARGE", "MODEL_LOADING", "NOT_ACCEPTABLE"} <= examples <= set(ERRORS)
