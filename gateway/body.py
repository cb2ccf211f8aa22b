"""Reading a request's body: JSON or multipart/form-data, bounded before it is decoded."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.errors import from_validation
from gateway.images import is_picture
from likeness.errors import InvalidRequest, UnsupportedMediaType

Model = TypeVar("Model", bound=BaseModel)

MAX_JSON_DEPTH = 16
MAX_JSON_VALUES = 10_000
"""Most values of a JSON body, counted by its brackets and commas, those within texts included."""
MAX_FORM_FIELDS = 256
MAX_FORM_FILES = 101
# Fields that are files may be sent as text too (a data URL), so a text part may be as large as the body.
# Before and behind the place of an error: programs write what is not finite although JSON has no word for it.
_NOT_FINITE = re.compile(r'"(\w{1,64})"\s*:\s*-?\0(?:NaN|Infinity|[0-9])')
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{1,70}")
# Every byte is a character of it, so that the form's reader loses nothing and we can tell what is no UTF-8.
_LOSSLESS = "latin-1"


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
    """Decode a JSON object of at most `MAX_JSON_VALUES`, at most `MAX_JSON_DEPTH` deep. Raises InvalidRequest."""
    try:
        values = _decode_json(data, "body")
    except orjson.JSONDecodeError as error:
        if named := _NOT_FINITE.search(
            f"{error.doc[max(0, error.pos - 200) : error.pos]}\0{error.doc[error.pos :][:9]}"
        ):
            raise InvalidRequest(f"{named[1]}: this is no finite number, as JSON has them", field=named[1]) from None
        raise InvalidRequest(f"the body is not valid JSON: {str(error)[:120]}", field="body") from None
    if not isinstance(values, dict):
        raise InvalidRequest("the body must be a JSON object", field="body")
    return values


def _decode_json(data: bytes, field: str) -> Any:
    # Counted before it is decoded: a list of empty lists takes thirty times its size in memory.
    if sum(map(data.count, (b"[", b"{", b","))) > MAX_JSON_VALUES:
        raise InvalidRequest(f"{field}: this holds more than {MAX_JSON_VALUES} values", field=field)
    value = orjson.loads(data)
    if depth_exceeds(value, MAX_JSON_DEPTH):
        raise InvalidRequest(f"{field}: this is nested more than {MAX_JSON_DEPTH} deep", field=field)
    return value


def depth_exceeds(value: Any, limit: int) -> bool:
    """Tell whether lists and objects nest deeper than ``limit``."""
    level = [value]
    for _ in range(limit):
        level = [item for parent in level for item in _children(parent)]
    return any(isinstance(item, dict | list) for item in level)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


async def _read_form(request: Request, model: type[BaseModel], max_bytes: int) -> dict[str, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            yield chunk

    headers = Headers({"content-type": _form_type(request.headers["content-type"])})
    parser = MultiPartParser(
        headers, stream(), max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FIELDS, max_part_size=max_bytes
    )
    # The whole body is bounded and small: keep it in memory, so that a read-only disk is enough.
    parser.spool_max_size = max_bytes
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"the form cannot be read: {error.message}", field="body") from None
    try:
        values: dict[str, Any] = {}
        for key in form:
            name = _text(key, "body")
            field = model.model_fields.get(name)
            many = field is not None and "list" in str(field.annotation)
            parts = [
                await part.read() if isinstance(part, UploadFile) else _text(part, name) for part in form.getlist(key)
            ]
            values[name] = _list_of(name, parts) if many else _single(name, parts)
        return values
    finally:
        await form.close()


def _form_type(content_type: str) -> str:
    """Return the form's media type as its reader gets it. Raises InvalidRequest."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidRequest("multipart/form-data needs a boundary of 1 to 70 characters", field="body")
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise InvalidRequest("the form's texts must be in UTF-8", field="body")
    return f'multipart/form-data; boundary="{boundary.decode("ascii")}"; charset={_LOSSLESS}'


def _text(lossless: str, field: str) -> str:
    """Return the text that the form holds. Raises InvalidRequest when it is no UTF-8."""
    try:
        return lossless.encode(_LOSSLESS).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{field}: this is not valid UTF-8", field=field[:200]) from None


def _single(name: str, parts: list[Any]) -> Any:
    if len(parts) > 1:
        raise InvalidRequest(f"{name}: this field is there {len(parts)} times", field=name[:200])
    return parts[0]


def _list_of(name: str, parts: list[Any]) -> list[Any]:
    """Return a list's items: one part each, or one part that holds them all as JSON."""
    # A single file of a list is that file, and not its items as JSON.
    if len(parts) == 1 and not (isinstance(parts[0], bytes) and is_picture(parts[0])):
        try:
            data = parts[0] if isinstance(parts[0], bytes) else parts[0].encode()
            decoded = _decode_json(data, name)
        except orjson.JSONDecodeError:
            return parts
        return decoded if isinstance(decoded, list) else [decoded]
    return parts
