"""What the client answers with for edits."""

from __future__ import annotations

from dataclasses import dataclass

from likeness.results import Finished, GeneratedPicture, Mode, ModelInfo


@dataclass(frozen=True)
class EditFinished(Finished):
    """All results are ready: how they were made. ``steps`` are those that were taken."""

    denoise: float = 1.0
    """The noise that the work began with, over 0 to 1: of the schedule's levels the one nearest to what was asked."""
    instruction: str = ""
    """The instruction as the encoder got it."""


@dataclass(frozen=True)
class Editing:
    """The results of one edit and how they were made."""

    pictures: tuple[GeneratedPicture, ...]
    finished: EditFinished


@dataclass(frozen=True)
class EditorCapabilities:
    """What the editor of a deployment can do."""

    model: ModelInfo
    modes: tuple[Mode, ...]
    """The default first."""
    size_multiple: int
    min_pixels: int
    max_pixels: int
    max_aspect_ratio: float
    """The longer side of a picture over the shorter one, at most."""
    max_count: int
    """Most results a request."""
    max_images: int
    """Most pictures that a request may hand in."""
    max_prompt_tokens: int
    queue_capacity: int
    max_loras: int
    default_denoise: float
    """With one picture."""
    default_denoise_of_several: float
