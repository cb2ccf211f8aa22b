"""Routes that draw with a LoRA, and those of the LoRA registry."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from gateway import composition, translation
from gateway.answers import json_answer
from gateway.connection import while_connected
from gateway.errors import in_rest_names
from gateway.exchange import Exchange
from gateway.loras import (
    DRAWING_NAMES,
    REGISTRY_NAMES,
    LoraDrawBody,
    LoraFileBody,
    LoraListDocument,
    LoraRemovalDocument,
    RegisteredLoraDocument,
    draw_request,
    lora_document,
    lora_source,
)
from gateway.openapi import (
    body_documentation,
    document_answer,
    error_responses,
    post_documentation,
    problem_answer,
)
from likeness.errors import LikenessError, LoraNotFound
from likeness.generator.v1 import lora_service_pb2 as pb2
from likeness.loras import Lora

router = APIRouter(tags=["LoRAs"])
T = TypeVar("T")

ROUTE = "/loras"
Version = Annotated[int, Query(description="Version of the LoRA.")]


async def _told(work: Awaitable[T]) -> T:
    try:
        return await work
    except LikenessError as error:
        raise in_rest_names(error, REGISTRY_NAMES) from error


def _checked(message: Message, **values: Any) -> None:
    translation.fill(message, values)
    translation.check(message)


@router.post(
    "/qwen-image-2512-lora",
    summary="Draw pictures from words with a LoRA",
    **post_documentation(LoraDrawBody),
)
async def qwen_image_2512_lora(request: Request) -> Response:
    """The same as /qwen-image-2512 with a registered LoRA; further ones may stand in `loras`.

    The trigger word of the body, or else that of the registry, is put in front of a prompt that doesn't hold it.
    """
    exchange = Exchange.begin(request)
    body = await exchange.read(LoraDrawBody)
    picture = translation.output(body, exchange.accepted)
    message = draw_request(body, accepted=exchange.accepted, picture=picture)
    work = composition.draw(exchange.call(body.timeout_seconds), message, names=DRAWING_NAMES)
    return await exchange.deliver(work)


@router.post(
    ROUTE + "/{lora_id}",
    summary="Keep a LoRA as the next version of its name",
    response_model=None,
    status_code=201,
    openapi_extra=body_documentation(LoraFileBody),
    responses={201: document_answer(RegisteredLoraDocument), **error_responses()},
)
async def register_lora(request: Request, lora_id: str) -> Response:
    """The safetensors file is checked against the deployment's model; what can't act is refused with its keys."""
    exchange = Exchange.begin(request)
    body = await exchange.read(LoraFileBody)
    call = exchange.call(body.timeout_seconds)
    source = await lora_source(lora_id, body)

    async def register() -> Lora:
        return await call.client.register_lora(
            lora_id, source, trigger_word=body.trigger_word, options=call.deadline.options(call.metadata)
        )

    lora = await _told(while_connected(request.receive, exchange.gateway.lifecycle, register()))
    return json_answer(lora_document(lora), 201)


@router.get(ROUTE, summary="The LoRAs", response_model=None, responses={200: document_answer(LoraListDocument)})
async def list_loras(
    request: Request,
    page_size: Annotated[int, Query(description="Most LoRAs a page, 1–1,000; 100 when 0.")] = 0,
    page_token: Annotated[str, Query(description="Token of the page, from the answer before.")] = "",
) -> Response:
    """A page of the LoRAs by name, each in its newest version."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.ListLorasRequest(), page_size=page_size, page_token=page_token)
    page = await _told(
        call.client.list_loras(page_size=page_size, page_token=page_token, options=call.deadline.options(call.metadata))
    )
    return json_answer({"loras": list(map(lora_document, page.loras)), "next_page_token": page.next_page_token})


@router.get(
    ROUTE + "/{lora_id}",
    summary="One LoRA",
    response_model=None,
    responses={200: document_answer(RegisteredLoraDocument), 404: problem_answer([LoraNotFound])},
)
async def get_lora(request: Request, lora_id: str, version: Version = 0) -> Response:
    """A version of the LoRA; the newest when `version` is left out."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.GetLoraRequest(), lora_id=lora_id, version=version)
    lora = await _told(call.client.get_lora(lora_id, version, options=call.deadline.options(call.metadata)))
    return json_answer(lora_document(lora))


@router.delete(
    ROUTE + "/{lora_id}",
    summary="Remove a LoRA",
    response_model=None,
    responses={200: document_answer(LoraRemovalDocument), 404: problem_answer([LoraNotFound])},
)
async def delete_lora(request: Request, lora_id: str, version: Version = 0) -> Response:
    """A version of the LoRA is removed, with its file; all versions when `version` is left out."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    _checked(pb2.DeleteLoraRequest(), lora_id=lora_id, version=version)
    versions = await _told(call.client.delete_lora(lora_id, version, options=call.deadline.options(call.metadata)))
    return json_answer({"lora_id": lora_id, "versions": list(versions)})
