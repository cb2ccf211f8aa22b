from __future__ import annotations

import pytest

from gateway.negotiation import AnswerKind, negotiate
from likeness.results import ImageFormat


@pytest.mark.parametrize(
    ("accept", "kind", "image_format"),
    [
        (None, AnswerKind.JSON, None),
        ("", AnswerKind.JSON, None),
        ("*/*", AnswerKind.JSON, None),
        ("text/html,application/xhtml+xml,*/*;q=0.8", AnswerKind.JSON, None),
        ("application/json, image/png;q=0.9", AnswerKind.JSON, None),
        ("image/webp, */*", AnswerKind.IMAGE, ImageFormat.WEBP),
        ("IMAGE/JPEG", AnswerKind.IMAGE, ImageFormat.JPEG),
        ("image/*", AnswerKind.IMAGE, None),
        ("image/png;q=0.5, image/webp;q=0.7", AnswerKind.IMAGE, ImageFormat.WEBP),
        ("text/event-stream", AnswerKind.EVENTS, None),
        ("image/png;q=0, application/json", AnswerKind.JSON, None),
        ("image/png;q=x, application/json;q=0.1", AnswerKind.JSON, None),
    ],
)
def test_the_best_offer_wins(accept: str | None, kind: AnswerKind, image_format: ImageFormat | None) -> None:
    accepted = negotiate(accept)
    assert accepted is not None
    assert (accepted.kind, accepted.image_format) == (kind, image_format)


@pytest.mark.parametrize("accept", ["video/mp4", "image/gif", "image/png;q=0"])
def test_nothing_fits(accept: str) -> None:
    assert negotiate(accept) is None
