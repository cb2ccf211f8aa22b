"""Routes that find and compare faces."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.answer_models import ComparisonDocument, FacesDocument
from gateway.answers import comparison_document, faces_document, json_answer
from gateway.exchange import Exchange
from gateway.face_bodies import CompareBody, DetectBody
from gateway.openapi import body_documentation, document_answer, error_responses
from gateway.swap_translation import check_comparison, check_detection, comparison_request, detection_request

router = APIRouter(tags=["Faces"])


@router.post(
    "/faces",
    summary="Find the faces of a picture",
    response_model=None,
    openapi_extra=body_documentation(DetectBody),
    responses={200: document_answer(FacesDocument), **error_responses()},
)
async def detect_faces(request: Request) -> Response:
    """Each face with its box, score, pose, gender, sharpness and index. A picture without faces is an empty list."""
    exchange = Exchange.begin(request)
    body = await exchange.read(DetectBody)
    call = exchange.call(body.timeout_seconds)
    check_detection(body)
    message = detection_request(body, await exchange.image(body.image, "image", call.deadline))
    found = await exchange.ask(call.client.send_detect_faces(message, call.deadline.options(call.metadata)))
    return json_answer(faces_document(found))


@router.post(
    "/faces/compare",
    summary="Tell how alike two faces are",
    response_model=None,
    openapi_extra=body_documentation(CompareBody),
    responses={200: document_answer(ComparisonDocument), **error_responses()},
)
async def compare_faces(request: Request) -> Response:
    """The identity score of two faces, the largest of each picture unless an index says which."""
    exchange = Exchange.begin(request)
    body = await exchange.read(CompareBody)
    call = exchange.call(body.timeout_seconds)
    check_comparison(body)
    first = await exchange.image(body.first_image, "first_image", call.deadline)
    second = await exchange.image(body.second_image, "second_image", call.deadline)
    message = comparison_request(body, first, second)
    comparison = await exchange.ask(call.client.send_compare_faces(message, call.deadline.options(call.metadata)))
    return json_answer(comparison_document(comparison))
