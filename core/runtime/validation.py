"""Checks requests against the limits that the protos declare (protovalidate)."""

from __future__ import annotations

import re
from typing import Any

import protovalidate
from google.protobuf.message import Message

from likeness.errors import FieldViolation, InvalidRequest

_NOT_A_NAME = re.compile(r"[^A-Z0-9]+")
_MESSAGES_SHOWN = 3


def validate(message: Message) -> None:
    """Return when a message keeps all limits of its proto.

    Raises:
        InvalidRequest: It does not; the violations name every field, in the order of the proto, for example
            ``loras[0].strength`` with the rule ``DOUBLE_GTE_LTE``.
    """
    violations = tuple(map(_violation, protovalidate.collect_violations(message)))
    if not violations:
        return
    texts = [f"{v.field}: {v.message}" if v.field else v.message for v in violations[:_MESSAGES_SHOWN]]
    if len(violations) > _MESSAGES_SHOWN:
        texts.append(f"and {len(violations) - _MESSAGES_SHOWN} more")
    raise InvalidRequest("; ".join(texts), violations=violations)


def _violation(violation: protovalidate.Violation) -> FieldViolation:
    proto = violation.proto
    path = ".".join(map(_element, proto.field.elements)) if proto.field else ""
    return FieldViolation(path, proto.message, _NOT_A_NAME.sub("_", proto.rule_id.upper()).strip("_"))


def _element(element: Any) -> str:
    name = str(element.field_name)
    return name if element.subscript is None else f"{name}[{element.subscript.value}]"
