"""What the router and pydantic refuse as errors of the table, their fields in REST's names, and problem responses."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from likeness.errors import (
    PROBLEM_MEDIA_TYPE,
    FieldViolation,
    InvalidRequest,
    LikenessError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    problem,
)

FIELD_NAMES: Mapping[str, str] = {
    "count": "n",
    "output.format": "output_format",
    "output.quality": "quality",
    "output.store": "store",
    "output": "output_format",
}
"""REST's names of the protos' fields, where the two differ."""

MAX_VIOLATIONS = 32
"""Most violations that an answer lists; its message counts the others."""

_SOURCE = re.compile(r"\.(data|artifact_uri)$")


def rest_field(path: str, names: Mapping[str, str]) -> str:
    """Return REST's name of a proto field: ``count`` is ``n``, ``image.data`` is what the route calls the picture."""
    plain = _SOURCE.sub("", path)
    for proto_name, rest_name in {**FIELD_NAMES, **names}.items():
        if plain == proto_name or plain.startswith((f"{proto_name}.", f"{proto_name}[")):
            return rest_name + plain[len(proto_name) :]
    return plain


def in_rest_names(error: LikenessError, names: Mapping[str, str] | None = None) -> LikenessError:
    """Return the error with its fields in REST's names, where its texts begin with them too.

    ``names`` are the route's own, by proto field.
    """
    if error.field is None and not error.violations:
        return error
    fields = [violation.field for violation in error.violations] + ([error.field] if error.field else [])
    renamed = {field: rest_field(field, names or {}) for field in fields}
    changed = copy.copy(error)
    changed.field = renamed[error.field] if error.field else error.field
    changed.message = _retold(error.message, renamed)
    if isinstance(error, InvalidRequest):
        changed = InvalidRequest(
            changed.message,
            field=changed.field,
            retry_after_seconds=error.retry_after_seconds,
            violations=[
                FieldViolation(renamed[violation.field], _retold(violation.message, renamed), violation.rule)
                for violation in error.violations
            ],
        )
        changed.metadata = error.metadata
        changed.request_id = error.request_id
    return changed


def _retold(text: str, renamed: Mapping[str, str]) -> str:
    """Return a text such as ``settings.rank: is too high`` with the names of its fields exchanged."""
    for field, name in renamed.items():
        if field and field != name:
            text = re.sub(rf"(?<![\w.]){re.escape(field)}(?=: )", name, text)
    return text


def violations_error(violations: Sequence[FieldViolation]) -> InvalidRequest:
    """Return the error for one or more violations; its message tells the first and counts the rest."""
    first = violations[0]
    message = f"{first.field}: {first.message}" if first.field else first.message
    if len(violations) > 1:
        message += f" (and {len(violations) - 1} more)"
    return InvalidRequest(message, violations=violations[:MAX_VIOLATIONS])


def from_validation(error: ValidationError | RequestValidationError) -> InvalidRequest:
    """Return the error for a body, query or header of the wrong types, without echoing its values."""
    violations: list[FieldViolation] = []
    fields: set[str] = set()
    for entry in error.errors():
        field = _location(entry["loc"])
        if entry["type"] == "extra_forbidden":
            violations.append(FieldViolation(field, "there is no such field", "UNKNOWN_FIELD"))
        elif entry["type"] == "missing":
            violations.append(FieldViolation(field, "this field is required", "REQUIRED"))
        elif field not in fields:
            fields.add(field)
            text = str(entry["msg"]).removeprefix("Value error, ")
            violations.append(FieldViolation(field, text, str(entry["type"]).upper()))
    return violations_error(violations)


def _location(parts: Sequence[int | str]) -> str:
    text = ""
    # Pydantic ends the location of a union's member with the member's type.
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in ("body", "query", "header", "str", "bytes"):
            text += f".{part}" if text else part
    return text[:200]


def from_http(error: HTTPException, request: Request) -> LikenessError:
    """Return the error for what the router refused."""
    path = request.url.path
    match error.status_code:
        case 404:
            return NotFound(f"there is nothing at {path[:200]}; /docs lists what there is")
        case 405:
            return MethodNotAllowed(f"{path[:200]} does not take {request.method[:20]}")
        case 413:
            return PayloadTooLarge(str(error.detail))
        case _:
            return InvalidRequest(str(error.detail))


def problem_headers(error: LikenessError) -> dict[str, str]:
    """Return the headers that go with a problem: Retry-After in whole seconds where trying again makes sense."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif error.http_status == 503:
        headers["Retry-After"] = "5"
    if error.http_status in (408, 413):
        # The rest of the body is still on its way; the connection cannot be used again.
        headers["Connection"] = "close"
    return headers


def problem_document(error: LikenessError, path: str, request_id: str | None) -> dict[str, Any]:
    """Return the problem document (RFC 9457) of an error."""
    return problem(error, path, request_id=request_id)


def problem_response(error: LikenessError, path: str, request_id: str | None) -> Response:
    """Return an error as ``application/problem+json``."""
    return Response(
        orjson.dumps(problem_document(error, path, request_id)),
        status_code=error.http_status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=problem_headers(error),
    )
