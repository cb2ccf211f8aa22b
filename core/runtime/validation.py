"""Checks requests against the limits that the protos declare (protovalidate)."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import protovalidate
from google.protobuf.message import Message

from likeness.errors import FieldViolation, InvalidRequest

_NOT_A_NAME = re.compile(r"[^A-Z0-9]+")
_LONG_DECIMAL = re.compile(r"\d+\.\d{7,}")
_BY_PATTERN = re.compile(r"does not match regex pattern `(.*)`", re.DOTALL)
_BY_LIST = re.compile(r"must be in list \[(?:, )?(.*)\]", re.DOTALL)
_NAME = "of a-z, 0-9, _ and -"
PATTERNS = {
    "^[a-z0-9][a-z0-9_-]{0,63}$": f"must be 1 to 64 {_NAME}, the first a letter or a digit",
    "^([a-z0-9][a-z0-9_-]{0,63})?$": f"must be 1 to 64 {_NAME}, the first a letter or a digit; or empty",
    "^[a-z0-9_-]{0,32}$": f"must be at most 32 {_NAME}",
    "^[a-z0-9_.+-]{0,32}$": "must be at most 32 of a-z, 0-9, _, ., + and -",
    "^artifact://[a-z0-9][a-z0-9/_.-]{0,250}$": "must be a URI of the artifact store, artifact://… as answers tell it",
    "^([0-9a-f]{64})?$": "must be a SHA-256 as 64 of 0-9 and a-f; or empty",
    "^(whsec_[A-Za-z0-9+/]{32,88}={0,2})?$": "must be whsec_ and 24 to 64 bytes in base64; or empty",
    r"^[^\pC{}]*$": "must have no braces and no control characters",
    "^[A-Za-z0-9._:-]{1,128}$": "must be 1 to 128 of letters, digits, ., _, : and -",
    "^[A-Za-z0-9._-]{1,64}$": "must be 1 to 64 of letters, digits, ., _ and -",
    "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$": "must be a traceparent of the W3C's Trace Context",
}
"""The protos' patterns in words."""
_MESSAGES_SHOWN = 3


def validate(message: Message) -> None:
    """Return when a message keeps all limits of its proto.

    Raises:
        InvalidRequest: It does not; the violations name every field, in the order of the proto, for example
            ``loras[0].strength`` with the rule ``DOUBLE_GTE_LTE``. A rule of the whole message whose id begins with
            the name of a field, as ``width.with_height`` does, counts as that field's.
    """
    fields = message.DESCRIPTOR.fields_by_name
    violations = tuple(_violation(found, fields) for found in protovalidate.collect_violations(message))
    if not violations:
        return
    texts = [f"{v.field}: {v.message}" if v.field else v.message for v in violations[:_MESSAGES_SHOWN]]
    if len(violations) > _MESSAGES_SHOWN:
        texts.append(f"and {len(violations) - _MESSAGES_SHOWN} more")
    raise InvalidRequest("; ".join(texts), violations=violations)


def _violation(violation: protovalidate.Violation, fields: Container[str]) -> FieldViolation:
    proto = violation.proto
    path = ".".join(map(_element, proto.field.elements)) if proto.field else ""
    named = proto.rule_id.partition(".")[0]
    if not path and named in fields:
        path = named
    # A float's limit is told with all digits of its double: 0.10000000149011612 stands for 0.1.
    message = _LONG_DECIMAL.sub(lambda match: f"{float(match[0]):.6g}", proto.message)
    message = _BY_PATTERN.sub(lambda match: PATTERNS.get(match[1], match[0]), message)
    message = _BY_LIST.sub(r"must be one of \1", message)
    return FieldViolation(path, message, _NOT_A_NAME.sub("_", proto.rule_id.upper()).strip("_"))


def _element(element: Any) -> str:
    name = str(element.field_name)
    return name if element.subscript is None else f"{name}[{element.subscript.value}]"
