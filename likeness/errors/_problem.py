"""Errors over REST: ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from typing import Any

from likeness.errors._tree import LikenessError

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""Media type of the document that `problem` returns."""
_TYPE_PREFIX = "https://likeness.dev/errors/"


def problem(error: LikenessError, instance: str, *, request_id: str | None = None) -> dict[str, Any]:
    """Turn an error into a problem document.

    Args:
        error: The error.
        instance: Path of the request that failed.
        request_id: The call that failed; the error's own when left out.

    Returns:
        ``type``, ``title``, ``status``, ``detail``, ``instance`` and ``reason``; where they apply also ``field``,
        ``errors`` (a list of ``field``, ``detail`` and ``rule``), ``metadata``, ``request_id`` and
        ``retry_after_seconds``.
    """
    document: dict[str, Any] = {
        "type": _TYPE_PREFIX + error.reason.lower().replace("_", "-"),
        "title": error.title,
        "status": error.http_status,
        "detail": error.message,
        "instance": instance,
        "reason": error.reason,
    }
    if error.field:
        document["field"] = error.field
    if error.violations:
        document["errors"] = [
            {"field": violation.field, "detail": violation.message}
            | ({"rule": violation.rule} if violation.rule else {})
            for violation in error.violations
        ]
    if error.metadata:
        document["metadata"] = dict(error.metadata)
    if request_id or error.request_id:
        document["request_id"] = request_id or error.request_id
    if error.retry_after_seconds is not None:
        document["retry_after_seconds"] = error.retry_after_seconds
    return document
