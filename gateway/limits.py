"""The limits of the protos as JSON Schema, so that the OpenAPI page and the contract cannot drift apart."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from likeness.vendor.buf.validate import validate_pb2

NUMBER_KINDS = ("int32", "int64", "float", "double")


def field_limits(message: type[Message], field: str) -> dict[str, Any]:
    """Return minimum, maximum, minLength, maxLength, pattern, enum and maxItems of a field, where it has them.

    Raises KeyError when the message has no such field.
    """
    options = message.DESCRIPTOR.fields_by_name[field].GetOptions()
    rules: validate_pb2.FieldRules = options.Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    if kind is None:
        return {}
    return _limits(kind, getattr(rules, kind))


def _limits(kind: str, rules: Any) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if kind in NUMBER_KINDS:
        names = {"gte": "minimum", "lte": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
        for rule, name in names.items():
            if rules.HasField(rule):
                value = getattr(rules, rule)
                limits[name] = round(value, 6) if isinstance(value, float) else value
    elif kind == "string":
        for rule, name in {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}.items():
            if rules.HasField(rule):
                limits[name] = getattr(rules, rule)
        choices = [choice for choice in getattr(rules, "in") if choice]
        if choices:
            limits["enum"] = choices
    elif kind == "repeated":
        if rules.HasField("max_items"):
            limits["maxItems"] = rules.max_items
        if rules.unique:
            limits["uniqueItems"] = True
        item_kind = rules.items.WhichOneof("type")
        if item_kind is not None:
            limits["items"] = {"type": "integer", **_limits(item_kind, getattr(rules.items, item_kind))}
    return limits
