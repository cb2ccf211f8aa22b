"""A request of a soak, and how it ended."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from likeness.results import ImageFormat, Picture

OK, LEFT = "OK", "LEFT"
"""It ended well; the client left before the end."""


@dataclass(frozen=True)
class Case:
    """One request, and how it may end."""

    kind: str
    arguments: Mapping[str, Any]
    expected: frozenset[str]
    """Reasons of errors, or OK or LEFT."""
    tenant: str = "default"
    timeout_seconds: float | None = None
    leave_after: float | None = None
    """The client goes away after so many events, or seconds where there are none."""


@dataclass(frozen=True)
class Outcome:
    """How a request ended."""

    case: Case
    ended: str
    seconds: float
    faults: tuple[str, ...] = ()
    """What is wrong with the answer; empty when nothing is."""
    digest: str = ""
    """Over the pictures of an answer."""

    @property
    def right(self) -> bool:
        """Whether it ended as it may, with an answer that is right."""
        return self.ended in self.case.expected and not self.faults


def faults_of(picture: Picture, wanted: ImageFormat, size: tuple[int, int]) -> list[str]:
    """Return what is wrong with a picture that should have this format and size (width, height), in words."""
    with Image.open(io.BytesIO(picture.data or b"")) as decoded:
        faults = [] if (decoded.format or "").lower() == wanted else [f"a {decoded.format}, not {wanted}"]
        if decoded.size != size:
            faults.append(f"{decoded.size} pixels, not {size}")
        low, high = decoded.convert("L").getextrema()
        if low == high:
            faults.append("a picture of one colour")
    return faults
