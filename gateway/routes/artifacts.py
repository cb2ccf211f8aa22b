"""The route that hands out stored pictures."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.artifacts import ROUTE, StoredPicture, holds
from gateway.exchange import Gateway
from gateway.openapi import problem_answer
from likeness.errors import ArtifactCorrupt, ArtifactNotFound

router = APIRouter(tags=["Pictures"])

# The name is the content's hash, so it never changes. Private: it shows a person, and belongs in no shared cache.
CACHE_CONTROL = "private, max-age=31536000, immutable"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    ROUTE,
    summary="A stored picture",
    response_model=None,
    responses={
        200: {
            "description": "The file.",
            "content": {"image/png": _BINARY, "image/jpeg": _BINARY, "image/webp": _BINARY},
        },
        304: {"description": "The client has it already, as If-None-Match says."},
        404: problem_answer([ArtifactNotFound]),
        500: problem_answer([ArtifactCorrupt]),
    },
)
async def artifact(request: Request, kind: str, name: str) -> Response:
    """A picture that an answer to `store: true` named in `url`. `kind` is `images`."""
    stored = StoredPicture.named(kind, name)
    artifacts = Gateway.of(request).artifacts
    headers = {"ETag": stored.etag, "Cache-Control": CACHE_CONTROL}
    if holds(request.headers.get("if-none-match"), stored.etag):
        await stored.check(artifacts)
        return Response(status_code=304, headers=headers)
    return Response(await stored.read(artifacts), media_type=stored.media_type, headers=headers)
