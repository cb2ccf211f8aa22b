"""What a client wants to get: the Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from likeness.results import ImageFormat


class AnswerKind(StrEnum):
    """How an answer is delivered."""

    JSON = "json"
    IMAGE = "image"
    EVENTS = "events"


@dataclass(frozen=True)
class Accepted:
    """The outcome of the negotiation."""

    kind: AnswerKind
    image_format: ImageFormat | None = None
    """The format that the client named; None when it left it open."""


OFFERS: dict[str, Accepted] = {
    "application/json": Accepted(AnswerKind.JSON),
    "text/event-stream": Accepted(AnswerKind.EVENTS),
    "image/png": Accepted(AnswerKind.IMAGE, ImageFormat.PNG),
    "image/jpeg": Accepted(AnswerKind.IMAGE, ImageFormat.JPEG),
    "image/webp": Accepted(AnswerKind.IMAGE, ImageFormat.WEBP),
    "image/*": Accepted(AnswerKind.IMAGE),
    "application/*": Accepted(AnswerKind.JSON),
    "*/*": Accepted(AnswerKind.JSON),
}
MEDIA_TYPES = tuple(name for name in OFFERS if "*" not in name)


def negotiate(accept: str | None) -> Accepted | None:
    """Return the best offer for an Accept header: the highest quality, then the most exact, then the first.

    A missing or blank header accepts JSON. Returns None when nothing fits.
    """
    if accept is None or not accept.strip():
        return OFFERS["application/json"]
    ranked: list[tuple[float, int, int, str]] = []
    for position, part in enumerate(accept.split(",")):
        name, quality = _media_range(part)
        if name in OFFERS and quality > 0:
            ranked.append((-quality, name.count("*"), position, name))
    return OFFERS[min(ranked)[3]] if ranked else None


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, min(1.0, float(parameter[2:]))
            except ValueError:
                return name, 0.0
    return name, 1.0
