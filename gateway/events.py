"""What a piece of work tells while it runs; every route's work is a stream of these."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from likeness.results import Finished, Picture, Preview, Queued, Started, Step, SwapResult


class Stage(StrEnum):
    """The parts of the work, in their order."""

    REFERENCE = "reference"
    REWRITING = "rewriting"
    DRAWING = "drawing"
    SWAPPING = "swapping"


@dataclass(frozen=True)
class Progress:
    """The work goes on."""

    stage: Stage
    event: Queued | Started | Step | Preview


@dataclass(frozen=True)
class PictureReady:
    """One picture of the answer."""

    index: int
    picture: Picture
    seed: int | None = None
    """The seed that draws it again; None when it was not drawn."""
    original: Picture | None = None
    """The picture before the swap, when it was asked for."""
    swap: SwapResult | None = None
    """What the swap did; None without one."""


@dataclass(frozen=True)
class WorkFinished:
    """The last event."""

    drawing: Finished | None = None
    """How the pictures were drawn; None when none was."""
    stage_seconds: Mapping[Stage, float] = field(default_factory=dict)
    """Wall time of each stage as the gateway saw it."""


WorkEvent = Progress | PictureReady | WorkFinished
Work = AsyncGenerator[WorkEvent, None]
