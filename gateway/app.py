"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.runtime.artifacts import ArtifactStore
from core.runtime.fetch import FetchPolicy, SafeFetcher
from gateway import openapi
from gateway.connection import Lifecycle
from gateway.context import RequestContext
from gateway.errors import from_http, from_validation, problem_response
from gateway.exchange import Gateway
from gateway.middleware import BodyLimitMiddleware, ContextMiddleware
from gateway.reference import ReferenceCheck
from gateway.rewriting import SceneRewriter
from gateway.routes import artifacts as stored
from gateway.routes import drawing, editing, face_models, faces, looks, loras, operations, training
from gateway.settings import GatewaySettings
from likeness.channel import ChannelOptions
from likeness.client import AsyncClient
from likeness.errors import LikenessError
from likeness.trainer_client import AsyncTrainerClient

VERSION = "0.1.0"


def create_app(settings: GatewaySettings, lifecycle: Lifecycle | None = None) -> FastAPI:
    """Return the application. It connects to the services in its lifespan; ``lifecycle`` tells it of a shutdown.

    Raises what `ArtifactStore` does when the store of ``settings`` cannot be opened.
    """
    watched = lifecycle or Lifecycle()
    artifacts = ArtifactStore(settings.artifacts_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        policy = FetchPolicy(private_hosts=settings.fetch_private_hosts, http_hosts=settings.fetch_http_hosts)
        client = AsyncClient(
            settings.generator_address,
            settings.faceswap_address,
            settings.editor_address or None,
            channel_options=ChannelOptions(max_message_bytes=settings.max_message_bytes),
        )
        trainer = AsyncTrainerClient(
            settings.trainer_address, channel_options=ChannelOptions(max_message_bytes=settings.max_message_bytes)
        )
        async with client, trainer, SafeFetcher(policy) as fetcher, aclosing(SceneRewriter(settings)) as rewriter:
            app.state.gateway = Gateway(
                settings, client, fetcher, ReferenceCheck(), watched, artifacts, trainer, rewriter
            )
            yield

    app = FastAPI(
        title=openapi.TITLE,
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Such a redirect would lead to whatever the Host header says, and away from TLS behind a proxy.
        redirect_slashes=False,
    )
    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=settings.max_body_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    app.add_middleware(ContextMiddleware)
    app.include_router(drawing.router)
    app.include_router(editing.router)
    app.include_router(faces.router)
    app.include_router(looks.router)
    app.include_router(face_models.router)
    app.include_router(loras.router)
    app.include_router(training.router)
    app.include_router(stored.router)
    app.include_router(operations.router)
    app.mount(operations.DOCS_STATIC, operations.docs_files())
    _handle_errors(app)
    _document(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    def answer(request: Request, error: LikenessError) -> Response:
        context = RequestContext.of(request.scope)
        context.reason = error.reason
        return problem_response(error, request.url.path, context.metadata.request_id)

    async def on_domain_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, LikenessError)
        return answer(request, error)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(request, from_validation(error))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = answer(request, from_http(error, request))
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(LikenessError, on_domain_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)


def _document(app: FastAPI) -> None:
    def document() -> dict[str, object]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.build(app)
        return app.openapi_schema

    # FastAPI's documented way to extend the document.
    app.openapi = document  # type: ignore[method-assign]
