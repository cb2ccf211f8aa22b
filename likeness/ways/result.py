"""What a comparison comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from likeness.results import Picture

PLAIN = "plain"
"""Name of the model's own drawings: of the words for the person, of nobody in particular."""


class Way(StrEnum):
    """A way to a picture of the character."""

    SWAP = "swap"
    """The generator draws the scene, the reference's face is swapped in."""
    EDIT = "edit"
    """The editor puts the person of the reference into the scene."""
    LORA = "lora"
    """The generator draws with the character's LoRA."""


@dataclass(frozen=True)
class WayError:
    """Why there is no picture, or no way."""

    reason: str
    """For programs, as errors have it."""
    message: str
    """The same for a person."""


@dataclass(frozen=True)
class MadePicture:
    """One picture of a way, or why there is none."""

    scene: str
    seed: int
    prompt: str
    """The words that it was made from; the scene alone for the editor."""
    picture: Picture | None = None
    seconds: float | None = None
    """How long the calls took that made it, waiting left out."""
    faces: int | None = None
    """How many faces it shows."""
    identity: float | None = None
    """Cosine of its largest face to the reference's, −1 to 1; 0 when it shows no face."""
    identity_to_photos: float | None = None
    """Mean cosine to the other photos; None when there are none."""
    scene_kept: float | None = None
    """How much nearer what is behind the person is to the plain drawing of the same words than to those of the other
    scenes, 0 to 1; 0.5 is chance. None when only one scene is compared."""
    adherence: float | None = None
    """How well it shows what the words say, 0 to 1, as the judge says; None without a judge."""
    error: WayError | None = None


@dataclass(frozen=True)
class WayResult:
    """What came of one way. Means are over the pictures that were made; None when there is nothing to take one of."""

    name: str
    """`PLAIN` or a `Way`."""
    pictures: tuple[MadePicture, ...]
    """Scene by scene, in each seed by seed."""
    made: int
    """How many pictures there are."""
    seconds: float | None
    """Mean time of a picture."""
    identity: float | None
    identity_lowest: float | None
    identity_to_photos: float | None
    one_face: float | None
    """Share of pictures with exactly one face."""
    scene_kept: float | None
    adherence: float | None
    set_up_seconds: float | None = None
    """What had to be done once before the first picture: the training of the LoRA. None when nobody knows."""
    error: WayError | None = None
    """The first error of its pictures."""


@dataclass(frozen=True)
class WaysResult:
    """A comparison."""

    plain: WayResult
    """What all ways are measured against: somebody whom the words describe, and the scenes as the model draws them."""
    ways: tuple[WayResult, ...]
    photos_identity: float | None
    """Mean cosine of the other photos to the reference: as alike as photos of the person are."""
    warnings: tuple[str, ...] = field(default=())


def way_result(name: str, pictures: Sequence[MadePicture], *, set_up_seconds: float | None = 0.0) -> WayResult:
    """Return a way's pictures with their means."""
    made = [picture for picture in pictures if picture.picture is not None]

    def mean(of: Callable[[MadePicture], float | None]) -> float | None:
        values = [value for value in map(of, made) if value is not None]
        return fmean(values) if values else None

    identities = [picture.identity for picture in made if picture.identity is not None]
    return WayResult(
        name=name,
        pictures=tuple(pictures),
        made=len(made),
        seconds=mean(lambda picture: picture.seconds),
        identity=mean(lambda picture: picture.identity),
        identity_lowest=min(identities, default=None),
        identity_to_photos=mean(lambda picture: picture.identity_to_photos),
        one_face=mean(lambda picture: None if picture.faces is None else float(picture.faces == 1)),
        scene_kept=mean(lambda picture: picture.scene_kept),
        adherence=mean(lambda picture: picture.adherence),
        set_up_seconds=set_up_seconds,
        error=next((picture.error for picture in pictures if picture.error is not None), None),
    )
