"""What a swap engine is."""

from dataclasses import dataclass
from typing import Protocol

from core.faces import Face
from core.faces.arrays import FloatArray, Image
from core.faces.region import Region
from likeness.errors import FaceTooSmall


@dataclass(frozen=True)
class EngineLimits:
    """What an engine takes."""

    max_pose_degrees: float
    """Largest difference of yaw or pitch between reference and target."""
    max_reference_turn_degrees: float
    """How far the reference may look past the camera: what it hides cannot be shown."""
    min_reference_face_pixels: int
    """Smallest width of the reference's face."""
    min_target_face_pixels: int
    """Smallest width of a target's face."""


@dataclass(frozen=True)
class EngineResult:
    """A picture with one face changed."""

    image: Image
    """H×W×3 uint8 RGB, a new array."""
    region: Region
    """The only part that may differ from the target."""
    mask: FloatArray
    """How much of each pixel of `region` was replaced, 0–1."""
    seam_ratio: float
    """Colour gradient across the mask's border divided by the target's own there; near 1 is no seam."""
    warnings: tuple[str, ...] = ()
    """What a person should know about the result."""


class SwapEngine(Protocol):
    """Puts a reference's face onto a target's. Keeps nothing between calls; safe to use from several threads."""

    @property
    def name(self) -> str:
        """The engine's name in requests and answers."""
        ...

    @property
    def limits(self) -> EngineLimits:
        """What the engine takes."""
        ...

    def check(self, reference: Face, target: Face) -> None:
        """Raise FaceTooSmall or FaceTurnedTooFar when this pair cannot be swapped well."""
        ...

    def swap(self, target_image: Image, target: Face, reference_image: Image, reference: Face) -> EngineResult:
        """Return `target_image` with the face `target` changed to the face `reference`; the inputs stay as they are."""
        ...


def check_width(face: Face, smallest: int, field: str) -> None:
    """Raise FaceTooSmall, with what to change, when a face is under `smallest` pixels wide; `field` is its picture."""
    if face.width < smallest:
        raise FaceTooSmall(
            f"the face is {face.width:.0f} pixels wide, at least {smallest} are needed: give a larger picture or a "
            "closer one",
            field=field,
            width_pixels=f"{face.width:.0f}",
            min_width_pixels=str(smallest),
        )
