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
    return FieldViolation(path, message, _NOT_A_NAME.sub("_", proto.rule_id.upper()).strip("_"))


def _element(element: Any) -> str:
    name = str(element.field_name)
    return name if element.subscript is None else f"{name}[{element.subscript.value}]"
