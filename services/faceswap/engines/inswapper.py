"""The engine "inswapper": a network draws the target's face with the reference's identity.

As insightface's swapper works: the target's face is cut by its five points, drawn anew by the network with the
reference's ArcFace embedding, and pasted back. Light, pose and expression are the target's, from the network itself.
What differs from insightface is around the network: the paste works in the face's own region, the mask follows the
face's outline and leaves the target's hair, and a larger crop is drawn by pixel boost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from core.faces import Face
from core.faces.alignment import AlignmentError, carry, cut, similarity, swapper_template
from core.faces.arcface import ArcFaceEmbedder, KeyPointDetector
from core.faces.arrays import FloatArray, Image
from core.faces.blending import covered_region, paste
from core.faces.region import Region
from likeness.errors import FaceTooSmall, FaceTurnedTooFar, InvalidRequest
from services.faceswap.engines import masks
from services.faceswap.engines.base import EngineLimits, EngineResult
from services.faceswap.engines.blend import seam_ratio
from services.faceswap.engines.colour import to_lab
from services.faceswap.engines.occluders import find_hair
from services.faceswap.engines.pixel_boost import put_together, take_apart
from services.faceswap.engines.swap_network import SwapNetwork

SIZES = (128, 256, 512)
"""Sides at which a face may be drawn, in pixels."""
LIMITS = EngineLimits(
    max_pose_degrees=180.0,
    max_reference_turn_degrees=70.0,
    min_reference_face_pixels=32,
    min_target_face_pixels=16,
)
"""What the engine takes. Only the identity of a reference counts, so its pose need not be like the target's."""
_DOUBTFUL_TURN = 45.0
"""Degrees from the camera beyond which the network, trained on faces that mostly look into it, distorts."""
_MAX_TARGET_TURN = 80.0


@dataclass(frozen=True)
class InswapperSettings:
    """How the drawn face is pasted."""

    limits: EngineLimits = LIMITS
    erode: float = 0.02
    """How much of the face's outline stays the target's, in widths of the face."""
    feather: float = 0.08
    """Over how much the mask rises from 0 to 1, in widths of the face."""
    border: float = 0.06
    """Over how much of the crop's side the mask falls to 0 at the crop's border."""
    keep_hair: bool = True
    """Leave the target's hair where it hangs over the face."""


@dataclass(frozen=True)
class InswapperNetworks:
    """The networks of the engine."""

    swapper: SwapNetwork
    embedder: ArcFaceEmbedder
    detector: KeyPointDetector | None
    """Finds the points to align by; without it those of the face's mesh serve."""


class InswapperEngine:
    """See the module. Keeps nothing between calls; safe to use from several threads."""

    name = "inswapper"

    def __init__(self, networks: InswapperNetworks, settings: InswapperSettings | None = None, size: int = 0) -> None:
        """Draw faces of `size` pixels a side, the network's own when 0.

        Raises InvalidRequest when the network cannot draw at that size.
        """
        self._networks = networks
        self._settings = settings or InswapperSettings()
        self._size = size or networks.swapper.size
        if self._size not in self.face_sizes:
            sizes = ", ".join(map(str, self.face_sizes))
            raise InvalidRequest(
                f"the engine '{self.name}' draws faces of {sizes} pixels here, not of {size}: its network takes "
                f"{networks.swapper.size}",
                field="pixel_boost",
            )

    def drawn_at(self, size: int) -> InswapperEngine:
        """The same engine with faces of `size` pixels a side; raises InvalidRequest for a size that it cannot draw."""
        return InswapperEngine(self._networks, self._settings, size)

    @property
    def face_sizes(self) -> tuple[int, ...]:
        """Sides at which a face can be drawn, in pixels, the network's own first."""
        native = self._networks.swapper.size
        return tuple(size for size in SIZES if size % native == 0)

    @property
    def provider(self) -> str:
        """The execution provider on which the swap network runs, as its session says."""
        return self._networks.swapper.provider

    @property
    def limits(self) -> EngineLimits:
        """What the engine takes."""
        return self._settings.limits

    def warm_up(self) -> None:
        """Run the networks once, so that no request waits for what a GPU prepares at the first run.

        Raises NonFiniteResult when the swap network overflows.
        """
        network = self._networks.swapper
        grey = np.full((network.size, network.size, 3), 0.5, dtype=np.float32)
        picture: Image = np.full((network.size, network.size, 3), 128, dtype=np.uint8)
        points = swapper_template(network.size, network.size)
        network.draw(grey, network.latent(self._networks.embedder.embed(picture, points)))

    def check(self, reference: Face, target: Face) -> None:
        """Raise FaceTooSmall or FaceTurnedTooFar when this pair cannot be swapped well."""
        limits = self.limits
        for face, smallest, largest_turn, name in (
            (reference, limits.min_reference_face_pixels, limits.max_reference_turn_degrees, "reference_image"),
            (target, limits.min_target_face_pixels, _MAX_TARGET_TURN, "target_image"),
        ):
            if face.width < smallest:
                raise FaceTooSmall(
                    f"the face is {face.width:.0f} pixels wide, at least {smallest} are needed",
                    field=name,
                    width_pixels=f"{face.width:.0f}",
                    min_width_pixels=str(smallest),
                )
            turn = face.placement.turn_degrees
            if turn > largest_turn:
                raise FaceTurnedTooFar(
                    f"the head is turned {turn:.0f}° from the camera: the engine '{self.name}' takes up to "
                    f"{largest_turn:.0f}°; use a picture that looks more into the camera",
                    field=name,
                    turn_degrees=f"{turn:.0f}",
                    max_degrees=f"{largest_turn:.0f}",
                )

    def swap(self, target_image: Image, target: Face, reference_image: Image, reference: Face) -> EngineResult:
        """Return `target_image` with the face `target` drawn as the person of `reference`; inputs stay as they are.

        Raises FaceTooSmall, FaceTurnedTooFar, and NonFiniteResult when the network's output is no picture.
        """
        self.check(reference, target)
        result = self.draw(target_image, target, self.identity([(reference_image, reference)]))
        return replace(result, warnings=(*_turn_warnings("reference", reference), *result.warnings))

    def identity(self, views: Sequence[tuple[Image, Face]]) -> FloatArray:
        """Describe a person as the network takes it: 512 numbers of length 1, the mean over one or more views.

        Each view is a picture with its face in it. Raises FaceTurnedTooFar for a face that cannot be aligned.
        """
        embedder = self._networks.embedder
        found = [embedder.embed(image, self._points(image, face, "reference")) for image, face in views]
        mean = np.mean(found, axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), dtype=np.float32)

    def draw(
        self,
        target_image: Image,
        target: Face,
        identity: FloatArray,
        between_runs: Callable[[], None] = lambda: None,
    ) -> EngineResult:
        """As `swap`, with a person that `identity` describes; the pair is not checked.

        `between_runs` is called before each run of the network, and may raise to stop.
        """
        native = self._networks.swapper.size
        matrix = similarity(self._points(target_image, target, "target"), swapper_template(native, self._size))
        crop = cut(target_image, matrix, self._size).astype(np.float32) / 255
        drawn = self._run(crop, identity, between_runs)
        mask = paste_mask(crop, carry(matrix, target.mesh.points), self._settings)
        image = paste(target_image, drawn * 255, mask, matrix)
        return _result(target_image, image, mask, matrix, _turn_warnings("target", target))

    def _run(self, crop: FloatArray, identity: FloatArray, between_runs: Callable[[], None]) -> FloatArray:
        network = self._networks.swapper
        latent = network.latent(identity)
        factor = self._size // network.size
        parts = []
        for part in take_apart(crop, factor):
            between_runs()
            parts.append(network.draw(part, latent))
        return put_together(np.stack(parts), factor)

    def _points(self, image: Image, face: Face, which: str) -> FloatArray:
        detector = self._networks.detector
        found = None if detector is None else detector.find(image, face.detection)
        points = face.landmarks if found is None else found
        try:
            similarity(points, swapper_template(128, 128))
        except AlignmentError as error:
            raise FaceTurnedTooFar(
                f"the {which}'s face cannot be aligned: {error}; use a picture that looks more into the camera",
                field=f"{which}_image",
            ) from error
        return points


def paste_mask(crop: FloatArray, points: FloatArray, settings: InswapperSettings | None = None) -> FloatArray:
    """S×S float32, 0–1: where a drawn face replaces the target's in its crop.

    `crop` is S×S×3, 0–1, RGB; `points` is the target's mesh in its pixels.
    """
    settings, side = settings or InswapperSettings(), crop.shape[0]
    size, width = (side, side), float(np.ptp(points[:, 0]))
    mask = masks.inner_oval(points, size, width, settings.erode, settings.feather)
    if settings.keep_hair:
        hair = find_hair(to_lab(crop * 255), points, size, width)
        mask = mask * (1 - masks.soften(hair, 0.03 * width))
    away = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32) + 0.5
    ramp = masks.smoothstep(0.0, settings.border * side, away)
    return np.asarray(mask * ramp[:, None] * ramp[None, :], dtype=np.float32)


def _result(
    before: Image, after: Image, mask: FloatArray, matrix: FloatArray, warnings: tuple[str, ...]
) -> EngineResult:
    region = covered_region(mask, matrix, before.shape)
    if region is None:
        return EngineResult(
            after,
            Region(0, 0, 1, 1),
            np.zeros((1, 1), dtype=np.float32),
            1.0,
            (*warnings, "the face lies under hair or outside the picture: nothing was changed"),
        )
    share = mask_of_region(mask, matrix, region)
    parts = [picture[region.rows, region.columns].astype(np.float32) for picture in (before, after)]
    return EngineResult(after, region, share, seam_ratio(parts[0], parts[1], share), warnings)


def mask_of_region(mask: FloatArray, crop_from_image: FloatArray, region: Region) -> FloatArray:
    """Draw an h×w mask of a crop over a region of its picture: rows × columns, float32, 0–1."""
    local = np.array(crop_from_image, dtype=np.float64)
    local[:, 2] += local[:, :2] @ np.array([region.left, region.top], dtype=np.float64)
    size = (region.right - region.left, region.bottom - region.top)
    drawn = cv2.warpAffine(mask, local, size, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)
    return np.clip(np.asarray(drawn, dtype=np.float32), 0, 1)


def _turn_warnings(name: str, face: Face) -> tuple[str, ...]:
    turn = face.placement.turn_degrees
    if turn <= _DOUBTFUL_TURN:
        return ()
    return (f"the {name}'s head is turned {turn:.0f}° from the camera: the face may be distorted",)
