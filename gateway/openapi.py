"""What the OpenAPI page says of the routes that answer with pictures: bodies, answers, events and every error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.answer_models import (
    AnswerDocument,
    FaceModelBuildDocument,
    FaceModelListDocument,
    ProblemDocument,
)
from gateway.edit_models import EditBody, SceneBody
from gateway.loras import LoraDrawBody, LoraFileBody, LoraListDocument, LoraRemovalDocument, RegisteredLoraDocument
from gateway.models import DrawBody, FaceModelBody, FastPortraitBody, PortraitBody, SwapBody
from gateway.training import (
    TrainingBody,
    TrainingForecastDocument,
    TrainingImageBody,
    TrainingImageDocument,
    TrainingJobDocument,
    TrainingJobListDocument,
)
from likeness.errors import ERRORS, PROBLEM_MEDIA_TYPE, LikenessError, problem

TITLE = "Likeness"
DESCRIPTION = """Pictures of the same person, again and again: Qwen-Image draws the scene, the face of a reference is
put in.

**Answers** are JSON; a client that accepts `image/png`, `image/jpeg` or `image/webp` gets the picture itself, with
its facts in `X-Likeness-*` headers; one that accepts `text/event-stream` gets events while the work runs: `queued`,
`started`, `step`, `preview`, `image`, and last `finished` or `error`.

**Bodies** are JSON or `multipart/form-data`. Every call may carry `X-Request-Id`, `X-Tenant-Id`, `Idempotency-Key`,
`traceparent` and `X-Timeout-Seconds`.

**Errors** are `application/problem+json` with a `reason` for programs and, where one is at fault, the `field`.
"""
BODIES: tuple[type[BaseModel], ...] = (
    DrawBody,
    PortraitBody,
    FastPortraitBody,
    EditBody,
    SceneBody,
    SwapBody,
    FaceModelBody,
    LoraDrawBody,
    LoraFileBody,
    TrainingBody,
    TrainingImageBody,
)
DOCUMENTS: tuple[type[BaseModel], ...] = (
    AnswerDocument,
    FaceModelBuildDocument,
    FaceModelListDocument,
    RegisteredLoraDocument,
    LoraListDocument,
    LoraRemovalDocument,
    TrainingJobDocument,
    TrainingJobListDocument,
    TrainingForecastDocument,
    TrainingImageDocument,
    ProblemDocument,
)
_TEMPLATE = "#/components/schemas/{model}"
_IMAGE_FIELDS = (
    "reference_image",
    "target_image",
    "match_image",
    "image",
    "source_image",
    "character_image",
    "mask",
)
_IMAGE_LISTS = ("references", "images")
_IMAGE_FILE = {
    "type": "string",
    "format": "binary",
    "description": "A JPEG, PNG, WebP, AVIF or HEIC file of one frame, at most 20 MiB and 40 megapixels.",
}
# What cannot come from a route that answers with pictures.
_ELSEWHERE = {"NOT_FOUND", "METHOD_NOT_ALLOWED", "UNAUTHENTICATED", "PERMISSION_DENIED", "CONFLICT", "RATE_LIMITED"}


def post_documentation(body: type[BaseModel]) -> dict[str, Any]:
    """Return the keyword arguments that document a route with this body."""
    return {
        "response_model": None,
        "openapi_extra": body_documentation(body),
        "responses": {200: _success(), **error_responses()},
    }


def body_documentation(body: type[BaseModel]) -> dict[str, Any]:
    """Return the part of a route's OpenAPI entry that tells its body and its headers."""
    name = body.__name__
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _reference(name)},
                "multipart/form-data": {"schema": _reference(f"{name}Form")},
            },
        },
        "parameters": [
            {
                "name": header,
                "in": "header",
                "required": False,
                "description": description,
                "schema": {"type": "string"},
            }
            for header, description in (
                ("X-Request-Id", "Names the call in logs and answers; one is made when it is missing."),
                ("X-Timeout-Seconds", "The answer is wanted within so many seconds."),
            )
        ],
    }


def document_answer(document: type[BaseModel]) -> dict[str, Any]:
    """Return the documentation of an answer that is one of the documents in `DOCUMENTS`."""
    return {
        "description": (document.__doc__ or "").split("\n")[0],
        "content": {"application/json": {"schema": _reference(document.__name__)}},
    }


def error_responses() -> dict[int | str, dict[str, Any]]:
    """Return the documentation of every error status: its reasons, and an example of each."""
    by_status: dict[int, list[type[LikenessError]]] = {}
    for kind in ERRORS.values():
        if kind.reason not in _ELSEWHERE:
            by_status.setdefault(kind.http_status, []).append(kind)
    return {status: problem_answer(kinds) for status, kinds in sorted(by_status.items())}


def problem_answer(kinds: Sequence[type[LikenessError]]) -> dict[str, Any]:
    """Return the documentation of an error status: its reasons, and an example of each."""
    return {
        "description": "; ".join(f"{kind.title} (`{kind.reason}`)" for kind in kinds),
        "content": {
            PROBLEM_MEDIA_TYPE: {
                "schema": _reference("ProblemDocument"),
                "examples": {kind.reason: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _example(kind: type[LikenessError]) -> dict[str, Any]:
    error = kind((kind.__doc__ or kind.title).split("\n")[0])
    return problem(error, "/qwen-faceswap", request_id="4f9c2b1e7a6d4c0f8e3b5a1d2c7f9e60")


def _success() -> dict[str, Any]:
    picture = {"schema": {"type": "string", "format": "binary"}}
    headers: Mapping[str, str] = {
        "X-Likeness-Seed": "The seed that draws the picture again.",
        "X-Likeness-Identity-Before": "Cosine to the reference before the swap.",
        "X-Likeness-Identity-After": "Cosine to the reference after the swap.",
        "X-Likeness-Engine": "The swap engine.",
        "X-Likeness-Restoration": "The restoration model, or not-applied.",
        "X-Likeness-Model": "The weights that drew the picture.",
        "X-Likeness-Total-Seconds": "How long the request took.",
    }
    events = (
        'event: queued\ndata: {"stage":"drawing","position":0}\n\n'
        'event: step\ndata: {"stage":"drawing","image_index":0,"step":1,"total_steps":20}\n\n'
        'event: image\ndata: {"index":0,"seed":7,"media_type":"image/png","data":"…"}\n\n'
        'event: finished\ndata: {"request_id":"…","seed":7,"timings":{"total_seconds":4.2}}\n\n'
    )
    return {
        "description": "The pictures. Headers beginning with X-Likeness go along with a picture as the answer itself.",
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in {"X-Request-Id": "Names the call.", **headers}.items()
        },
        "content": {
            "application/json": {"schema": _reference("AnswerDocument")},
            "image/png": picture,
            "image/jpeg": picture,
            "image/webp": picture,
            "text/event-stream": {"schema": {"type": "string"}, "example": events},
        },
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _TEMPLATE.format(model=name)}


def build(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the app, with the schemas of bodies and answers."""
    document = get_openapi(title=TITLE, version=app.version, description=DESCRIPTION, routes=app.routes)
    models: list[tuple[type[BaseModel], Any]] = [(body, "validation") for body in BODIES]
    models += [(document_model, "serialization") for document_model in DOCUMENTS]
    _, definitions = models_json_schema(models, ref_template=_TEMPLATE)
    schemas: dict[str, Any] = definitions["$defs"]
    for body in BODIES:
        schemas[f"{body.__name__}Form"] = _form_schema(schemas[body.__name__])
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
    return document


def _form_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the same body as a form: its pictures are files."""
    form = {key: value for key, value in schema.items() if key != "examples"}
    form["properties"] = dict(schema["properties"])
    for name in _IMAGE_FIELDS:
        if name in form["properties"]:
            form["properties"][name] = _IMAGE_FILE
    if "file" in form["properties"]:
        form["properties"]["file"] = {"type": "string", "format": "binary", "description": "A safetensors file."}
    if "archive" in form["properties"]:
        form["properties"]["archive"] = {"type": "string", "format": "binary", "description": "A zip file of photos."}
    for name in _IMAGE_LISTS:
        if name in form["properties"]:
            form["properties"][name] = {**schema["properties"][name], "items": _IMAGE_FILE}
    return form
