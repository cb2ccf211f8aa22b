"""The routes that hand out stored pictures: of answers, and the samples of training jobs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import translation
from gateway.artifacts import ROUTE, StoredPicture, holds
from gateway.exchange import Exchange, Gateway
from gateway.openapi import problem_answer
from likeness.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    InvalidRequest,
    LikenessError,
    ServiceUnavailable,
    TrainingJobNotFound,
)
from likeness.trainer.v1 import trainer_service_pb2 as pb2

router = APIRouter(tags=["Pictures"])

# The name is the content's hash, so it never changes. Private: it shows a person, and belongs in no shared cache.
CACHE_CONTROL = "private, max-age=31536000, immutable"
# A sample goes with its job: whoever has it asks whether it is still there.
_SAMPLE_CACHE_CONTROL = "private, no-cache"


def _answers(media_types: tuple[str, ...], *missing: type[LikenessError]) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {"description": "The file.", "content": {media_type: binary for media_type in media_types}},
        304: {"description": "The client has it already, as If-None-Match says."},
        404: problem_answer([*missing, ArtifactNotFound]),
        500: problem_answer([ArtifactCorrupt]),
        503: problem_answer([ServiceUnavailable]),
    }


@router.get(
    ROUTE,
    summary="A stored picture",
    response_model=None,
    responses=_answers(("image/png", "image/jpeg", "image/webp")),
)
async def artifact(request: Request, kind: str, name: str) -> Response:
    """A picture that an answer to `store: true` named in `url`. `kind` is `images`."""
    return await _hand_out(request, StoredPicture.named(kind, name), CACHE_CONTROL)


@router.get(
    "/lora-training/{job_id}/samples/{name}",
    summary="A sample picture of a training job",
    response_model=None,
    tags=["Training"],
    responses={**_answers(("image/jpeg",), TrainingJobNotFound), 400: problem_answer([InvalidRequest])},
)
async def training_sample(request: Request, job_id: str, name: str) -> Response:
    """A picture that was drawn with a checkpoint, as the job and its events name it in `url`.

    It is there for the job's tenant, as long as the job is.
    """
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    wanted = pb2.GetTrainingJobRequest()
    translation.fill(wanted, {"job_id": job_id})
    translation.check(wanted)
    job = await exchange.ask(exchange.gateway.trainer.get(job_id, call.deadline.options(call.metadata)))
    return await _hand_out(request, StoredPicture.sample(job, name), _SAMPLE_CACHE_CONTROL)


async def _hand_out(request: Request, stored: StoredPicture, cache_control: str) -> Response:
    artifacts = Gateway.of(request).artifacts
    headers = {"ETag": stored.etag, "Cache-Control": cache_control}
    if holds(request.headers.get("if-none-match"), stored.etag):
        await stored.check(artifacts)
        return Response(status_code=304, headers=headers)
    return Response(await stored.read(artifacts), media_type=stored.media_type, headers=headers)
