"""Routes that build, list, show and remove face models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from gateway.answer_models import FaceModelBuildDocument, FaceModelDocument, FaceModelListDocument
from gateway.answers import face_model_build_document, face_model_document, json_answer
from gateway.exchange import Exchange
from gateway.models import FaceModelBody
from gateway.openapi import body_documentation, document_answer, error_responses, problem_answer
from gateway.swap_translation import check_face_model, face_model_request
from likeness.errors import Conflict, FaceModelNotFound

router = APIRouter(tags=["Face models"])

ROUTE = "/face-models"


@router.post(
    ROUTE + "/{face_model_id}",
    summary="Build a face model from several photos",
    response_model=None,
    openapi_extra=body_documentation(FaceModelBody),
    responses={
        200: document_answer(FaceModelBuildDocument),
        **error_responses(),
        409: problem_answer([Conflict]),
    },
)
async def build_face_model(request: Request, face_model_id: str) -> Response:
    """Photos of one person become a model that swaps name by `face_model_id`; the answer tells of each photo."""
    exchange = Exchange.begin(request)
    body = await exchange.read(FaceModelBody)
    call = exchange.call(body.timeout_seconds)
    check_face_model(face_model_id, body)
    images = [
        await exchange.image(value, f"images[{number}]", call.deadline) for number, value in enumerate(body.images)
    ]
    message = face_model_request(face_model_id, body, images)

    built = await exchange.ask(call.client.send_build_face_model(message, call.deadline.options(call.metadata)))
    return json_answer(face_model_build_document(built))


@router.get(
    ROUTE, summary="The face models", response_model=None, responses={200: document_answer(FaceModelListDocument)}
)
async def list_face_models(
    request: Request,
    page_size: Annotated[int, Query(ge=0, le=1000, description="Most models a page; 100 when 0.")] = 0,
    page_token: Annotated[str, Query(max_length=256, description="Token of the page, from the answer before.")] = "",
) -> Response:
    """A page of the models, by name."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    page = await call.client.list_face_models(
        page_size=page_size, page_token=page_token, options=call.deadline.options(call.metadata)
    )
    documents = [face_model_document(model) for model in page.face_models]
    return json_answer({"face_models": documents, "next_page_token": page.next_page_token})


@router.get(
    ROUTE + "/{face_model_id}",
    summary="One face model",
    response_model=None,
    responses={200: document_answer(FaceModelDocument), 404: problem_answer([FaceModelNotFound])},
)
async def get_face_model(request: Request, face_model_id: str) -> Response:
    """How the model was built, and the views that it keeps."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    model = await call.client.get_face_model(face_model_id, options=call.deadline.options(call.metadata))
    return json_answer(face_model_document(model))


@router.delete(
    ROUTE + "/{face_model_id}",
    summary="Remove a face model",
    response_model=None,
    status_code=204,
    responses={204: {"description": "It is gone."}, 404: problem_answer([FaceModelNotFound])},
)
async def delete_face_model(request: Request, face_model_id: str) -> Response:
    """The model and the parts of photos that it keeps are removed."""
    exchange = Exchange.begin(request)
    call = exchange.call(None)
    await call.client.delete_face_model(face_model_id, options=call.deadline.options(call.metadata))
    return Response(status_code=204)
