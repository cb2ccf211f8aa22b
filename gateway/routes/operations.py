"""Routes for operators and for clients that look before they ask: health, metrics, capabilities, the pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from gateway.answers import json_answer
from gateway.context import RequestContext
from gateway.deadline import Deadline
from gateway.exchange import Gateway
from gateway.openapi import TITLE
from likeness.calls import CallOptions
from likeness.errors import LikenessError

router = APIRouter(tags=["Operations"])

CAPABILITIES_TIMEOUT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 5
DOCS_STATIC = "/docs/static"


@router.get("/healthz", summary="Whether the gateway's process lives", response_model=None)
async def healthz() -> Response:
    """Answers while the process can answer at all; says nothing of the services behind it."""
    return json_answer({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether pictures can be asked for",
    response_model=None,
    responses={503: {"description": "A service is down or still loading, or the gateway shuts down."}},
)
async def readyz(request: Request) -> Response:
    """Answers 200 when every service serves, else 503 with the state of each."""
    gateway = Gateway.of(request)
    services = await gateway.client.health()
    ready = not gateway.lifecycle.draining and all(state == "SERVING" for state in services.values())
    state = "ready" if ready else "draining" if gateway.lifecycle.draining else "not ready"
    headers = {} if ready else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return json_answer({"status": state, "services": services}, 200 if ready else 503, headers)


@router.get("/metrics", summary="Metrics for Prometheus", response_model=None)
async def metrics() -> Response:
    """Counts and times of requests in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/capabilities", summary="What this deployment can do", response_model=None)
async def capabilities(request: Request) -> Response:
    """Modes, sizes, limits and weights of each service; of one that is down, why."""
    gateway = Gateway.of(request)
    context = RequestContext.of(request.scope)
    options = Deadline.after(CAPABILITIES_TIMEOUT_SECONDS).options(context.metadata)
    generator, faceswap, editor = await asyncio.gather(
        _capabilities(gateway.client.generator_capabilities(options)),
        _capabilities(gateway.client.faceswap_capabilities(options)),
        _editor_capabilities(gateway, options),
    )
    return json_answer({"generator": generator, "faceswap": faceswap, "editor": editor})


async def _editor_capabilities(gateway: Gateway, options: CallOptions) -> dict[str, Any]:
    if not gateway.settings.editor_address:
        return {"available": False, "reason": "NOT_FOUND", "detail": "this deployment has no editor"}
    return await _capabilities(gateway.client.editor_capabilities(options))


async def _capabilities(asked: Awaitable[Any]) -> dict[str, Any]:
    try:
        answer = await asked
    except LikenessError as error:
        return {"available": False, "reason": error.reason, "detail": error.message}
    assert is_dataclass(answer) and not isinstance(answer, type)
    return {"available": True, **asdict(answer)}


@router.get("/", include_in_schema=False)
async def root() -> Response:
    """Lead to the page that tells what there is."""
    return RedirectResponse("/docs")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Show the OpenAPI page, whose files come from here and not from elsewhere."""
    prefix = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{prefix}{request.app.openapi_url}",
        title=TITLE,
        swagger_js_url=f"{prefix}{DOCS_STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{prefix}{DOCS_STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{prefix}{DOCS_STATIC}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 0},
    )


def docs_files() -> StaticFiles:
    """Return the files of Swagger UI, which the package fastapi-offline carries."""
    spec = find_spec("fastapi_offline")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package fastapi-offline is missing; it holds the files of /docs")
    return StaticFiles(directory=Path(spec.submodule_search_locations[0]) / "static")
