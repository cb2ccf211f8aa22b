"""Reading a request's body: JSON or multipart/form-data, bounded before it is decoded."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.errors import UnsupportedMediaType, from_validation
from likeness.errors import InvalidRequest

Model = TypeVar("Model", bound=BaseModel)

MAX_JSON_DEPTH = 16
MAX_FORM_FIELDS = 64
MAX_FORM_FILES = 4
# Fields that are files may be sent as text too (a data URL), so a text part may be as large as the body.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True)
class ParsedBody:
    """The fields of a body before their types are checked."""

    values: dict[str, Any]
    strict: bool
    """Whether the types must fit exactly, as in JSON; a form's values are all text."""


async def read_body(request: Request, model: type[Model], max_bytes: int) -> Model:
    """Return the body as ``model``. Raises UnsupportedMediaType and InvalidRequest; the size is bounded elsewhere."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        parsed = ParsedBody(parse_json(await request.body()), strict=True)
    elif media_type == "multipart/form-data":
        parsed = ParsedBody(await _read_form(request, model, max_bytes), strict=False)
    else:
        raise UnsupportedMediaType("send the body as application/json or multipart/form-data", field="content-type")
    return parse_model(model, parsed)


def parse_model(model: type[Model], parsed: ParsedBody) -> Model:
    """Return checked fields. Raises InvalidRequest that names each wrong one."""
    try:
        if parsed.strict:
            return model.model_validate(parsed.values, strict=True, context={"json": True})
        return model.model_validate(parsed.values)
    except ValidationError as error:
        raise from_validation(error) from None


def parse_json(data: bytes) -> dict[str, Any]:
    """Decode a JSON object at most `MAX_JSON_DEPTH` deep. Raises InvalidRequest."""
    if json_depth_exceeds(data, MAX_JSON_DEPTH):
        raise InvalidRequest(f"the body is nested more than {MAX_JSON_DEPTH} deep", field="body")
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {str(error)[:120]}", field="body") from None
    if not isinstance(values, dict):
        raise InvalidRequest("the body must be a JSON object", field="body")
    return values


def json_depth_exceeds(data: bytes, limit: int) -> bool:
    """Tell whether brackets nest deeper than ``limit``. Fast for bodies with few of them, pictures included."""
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    depth = 0
    for character in _STRING.sub(b"", data):
        if character in b"{[":
            depth += 1
            if depth > limit:
                return True
        elif character in b"}]":
            depth -= 1
    return False


async def _read_form(request: Request, model: type[BaseModel], max_bytes: int) -> dict[str, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            yield chunk

    parser = MultiPartParser(
        request.headers, stream(), max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FIELDS, max_part_size=max_bytes
    )
    # The whole body is bounded and small: keep it in memory, so that a read-only disk is enough.
    parser.spool_max_size = max_bytes
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"the form cannot be read: {error.message}", field="body") from None
    try:
        values: dict[str, Any] = {}
        for name in form:
            field = model.model_fields.get(name)
            many = field is not None and "list" in str(field.annotation)
            parts = [await part.read() if isinstance(part, UploadFile) else part for part in form.getlist(name)]
            values[name] = _list_of(parts) if many else _single(name, parts)
        return values
    finally:
        await form.close()


def _single(name: str, parts: list[Any]) -> Any:
    if len(parts) > 1:
        raise InvalidRequest(f"{name}: this field is there {len(parts)} times", field=name[:200])
    return parts[0]


def _list_of(parts: list[Any]) -> list[Any]:
    """Return a list's items: one part each, or one part that holds them all as JSON."""
    if len(parts) == 1:
        try:
            decoded = orjson.loads(parts[0])
        except orjson.JSONDecodeError:
            return parts
        return decoded if isinstance(decoded, list) else [decoded]
    return parts
