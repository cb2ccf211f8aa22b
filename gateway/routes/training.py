"""Routes that train LoRAs from photos of a character."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from gateway import translation
from gateway.answers import json_answer
from gateway.connection import while_connected
from gateway.errors import in_rest_names
from gateway.exchange import Exchange
from gateway.negotiation import AnswerKind
from gateway.openapi import body_documentation, document_answer, error_responses, problem_answer
from gateway.training import (
    NAMES,
    CharacterDeletionDocument,
    CheckpointBody,
    PublishedLoraDocument,
    TrainingBody,
    TrainingForecastDocument,
    TrainingImageBody,
    TrainingImageDocument,
    TrainingJobDocument,
    TrainingJobListDocument,
    training_image,
    training_request,
)
from gateway.training_events import TrainingEventStream
from likeness.calls import CallOptions
from likeness.errors import ArtifactNotFound, Conflict, InvalidRequest, LikenessError, TrainingJobNotFound
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.training import TrainingJob, document

router = APIRouter(tags=["Training"])
T = TypeVar("T")

ROUTE = "/lora-training"
LAST_EVENT_HEADER = "last-event-id"
RECONNECT_SECONDS = 60.0
_FOUND: dict[int | str, dict[str, Any]] = {404: problem_answer([TrainingJobNotFound])}


async def _told(work: Awaitable[T]) -> T:
    try:
        return await work
    except LikenessError as error:
        raise in_rest_names(error, NAMES) from error


def _checked(message: Message, **values: Any) -> None:
    translation.fill(message, values)
    translation.check(message)


async def _message(exchange: Exchange) -> tuple[pb2.CreateTrainingJobRequest, TrainingBody]:
    body = await exchange.read(TrainingBody)
    return await _told(training_request(body)), body


@router.post(
    ROUTE,
    summary="Train a LoRA from photos of a character",
    response_model=None,
    status_code=202,
    openapi_extra=body_documentation(TrainingBody),
    responses={202: document_answer(TrainingJobDocument), **error_responses(), 409: problem_answer([Conflict])},
)
async def create_training_job(request: Request) -> Response:
    """The photos are read and the job is queued; `GET /lora-training/{job_id}` tells how it stands."""
    exchange = Exchange.begin(request)
    message, body = await _message(exchange)
    call = exchange.call(body.timeout_seconds)
    trainer = exchange.gateway.trainer
    work = trainer.send_create(message, call.deadline.options(call.metadata))
    job = await _told(while_connected(request.receive, exchange.gateway.lifecycle, work))
    response = json_answer(document(job), 202)
    response.headers["Location"] = f"{ROUTE}/{job.job_id}"
    return response


@router.post(
    ROUTE + "/dry-run",
    summary="Look at photos as a training job would",
    response_model=None,
    openapi_extra=body_documentation(TrainingBody),
    responses={200: document_answer(TrainingForecastDocument), **error_responses()},
)
async def dry_run_training(request: Request) -> Response:
    """What would become of each photo, how many steps there would be, how long they take and what they cost."""
    exchange = Exchange.begin(request)
    message, body = await _message(exchange)
    call = exchange.call(body.timeout_seconds)
    work = exchange.gateway.trainer.send_dry_run(message, call.deadline.options(call.metadata))
    return json_answer(document(await _told(while_connected(request.receive, exchange.gateway.lifecycle, work))))


@router.post(
    ROUTE + "/images",
    summary="Keep a photo for a training job",
    response_model=None,
    status_code=201,
    openapi_extra=body_documentation(TrainingImageBody),
    responses={201: document_answer(TrainingImageDocument), **error_responses()},
)
async def upload_training_image(request: Request) -> Response:
    """For photos that together are larger than a body may be; the answer's URI goes into the job's `images`."""
    exchange = Exchange.begin(request)
    body = await exchange.read(TrainingImageBody)
    call = exchange.call(None)
    image = training_image(body.image, "image")
    if not image.data:
        raise InvalidRequest("image: this photo is kept already", field="image")
    work = exchange.gateway.trainer.upload(image.data, call.deadline.options(call.metadata))
    return json_answer({"artifact_uri": await _told(work)}, 201)


@router.get(
    ROUTE, summary="Training jobs", response_model=None, responses={200: document_answer(TrainingJobListDocument)}
)
async def list_training_jobs(
    request: Request,
    page_size: Annotated[int, Query(description="Most jobs a page, 1–1,000; 100 when 0.")] = 0,
    page_token: Annotated[str, Query(description="Token of the page, from the answer before.")] = "",
    character_id: Annotated[str, Query(description="Only jobs of this character.")] = "",
) -> Response:
    """The tenant's jobs, the newest first, without what became of their photos."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.ListTrainingJobsRequest(), page_size=page_size, page_token=page_token, character_id=character_id)
    options = call.deadline.options(call.metadata)
    page = await _told(exchange.gateway.trainer.list(page_size, page_token, character_id, options))
    return json_answer({"jobs": document(page.jobs), "next_page_token": page.next_page_token})


@router.get(
    ROUTE + "/{job_id}",
    summary="One training job, or its events",
    response_model=None,
    responses={200: document_answer(TrainingJobDocument), **_FOUND},
)
async def get_training_job(request: Request, job_id: str) -> Response:
    """How the job stands.

    A client that accepts `text/event-stream` gets its events from the first on, or after the one that
    `Last-Event-ID` names, until the job has ended.
    """
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.GetTrainingJobRequest(), job_id=job_id)
    trainer = exchange.gateway.trainer
    job = await _told(trainer.get(job_id, call.deadline.options(call.metadata)))
    if exchange.accepted.kind is not AnswerKind.EVENTS:
        return json_answer(document(job))
    options = CallOptions(call.metadata.new_child())
    after = _last_event(request)
    events = trainer.watch(job_id, after, options, reconnect_seconds=RECONNECT_SECONDS)

    async def ended() -> TrainingJob:
        return await trainer.get(job_id, CallOptions(call.metadata.new_child(), RECONNECT_SECONDS))

    return TrainingEventStream(exchange, events, ended)


@router.post(
    ROUTE + "/{job_id}/cancel",
    summary="Stop a training job",
    response_model=None,
    responses={200: document_answer(TrainingJobDocument), **_FOUND},
)
async def cancel_training_job(request: Request, job_id: str) -> Response:
    """It stops at its next step and keeps its last checkpoint. A job that has ended stays as it is."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.CancelTrainingJobRequest(), job_id=job_id)
    job = await _told(exchange.gateway.trainer.cancel(job_id, call.deadline.options(call.metadata)))
    return json_answer(document(job))


@router.post(
    ROUTE + "/{job_id}/publish",
    summary="Publish a further checkpoint",
    response_model=None,
    openapi_extra=body_documentation(CheckpointBody),
    responses={
        200: document_answer(PublishedLoraDocument),
        **error_responses(),
        404: problem_answer([TrainingJobNotFound, ArtifactNotFound]),
        409: problem_answer([Conflict]),
    },
)
async def publish_checkpoint(request: Request, job_id: str) -> Response:
    """A scored checkpoint of an ended job, or the last one of a cancelled job, becomes the LoRA's next version.

    One that is published already is answered with its version.
    """
    exchange = Exchange.begin(request)
    body = await exchange.read(CheckpointBody)
    call = exchange.call(None)
    _checked(pb2.PublishCheckpointRequest(), job_id=job_id, step=body.step)
    lora = await _told(exchange.gateway.trainer.publish(job_id, body.step, call.deadline.options(call.metadata)))
    return json_answer(document(lora))


@router.delete(
    ROUTE + "/{job_id}",
    summary="Remove a training job",
    response_model=None,
    status_code=204,
    responses={204: {"description": "It is removed."}, **_FOUND, 409: problem_answer([Conflict])},
)
async def delete_training_job(
    request: Request,
    job_id: str,
    delete_lora: Annotated[
        bool, Query(description="Whether the LoRA versions that were published of it are removed too.")
    ] = False,
) -> Response:
    """An ended job goes with its photos, caches, checkpoints and samples. One that still runs is a conflict."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.DeleteTrainingJobRequest(), job_id=job_id)
    options = call.deadline.options(call.metadata)
    await _told(exchange.gateway.trainer.delete(job_id, delete_lora=delete_lora, options=options))
    return Response(status_code=204)


@router.delete(
    ROUTE + "/characters/{character_id}",
    summary="Forget a character",
    response_model=None,
    responses={200: document_answer(CharacterDeletionDocument), **error_responses()},
)
async def delete_character(request: Request, character_id: str) -> Response:
    """All its jobs go, running ones too, with photos, crops, caches, checkpoints, samples and reports, and its LoRA.

    The answer comes when all is gone. A deletion that was begun goes on by itself, also when this call ends before. A
    character that isn't there is no error.
    """
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.DeleteCharacterRequest(), character_id=character_id)
    options = call.deadline.options(call.metadata)
    deletion = await _told(exchange.gateway.trainer.delete_character(character_id, options))
    return json_answer(document(deletion))


def _last_event(request: Request) -> int:
    text = request.headers.get(LAST_EVENT_HEADER, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest(f"{LAST_EVENT_HEADER}: must be the number of an event", field=LAST_EVENT_HEADER)
    return int(text)
