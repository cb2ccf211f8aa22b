"""The engine "inswapper": a network draws the target's face with the reference's identity.

As insightface's swapper works: the target's face is cut by its five points, drawn anew by the network with the
reference's ArcFace embedding, and pasted back. Light, pose and expression are the target's, from the network itself.
What differs from insightface is around the network: the paste works in the face's own region, the mask follows the
face's outline and leaves the target's hair, and a larger crop is drawn by pixel boost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from core.faces import Face
from core.faces.alignment import AlignmentError, carry, cut, similarity, swapper_template
from core.faces.arcface import ArcFaceEmbedder, KeyPointDetector
from core.faces.arrays import FloatArray, Image
from core.faces.blending import paste
from likeness.errors import FaceTurnedTooFar, InvalidRequest, NonFiniteResult
from services.faceswap.engines.base import EngineLimits, EngineResult, check_width
from services.faceswap.engines.drawn_face import (
    PasteSettings,
    match_colour,
    paste_mask,
    pasted_result,
)
from services.faceswap.engines.network_output import drawn_finite
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
    """How the engine works."""

    limits: EngineLimits = LIMITS
    paste: PasteSettings = field(default_factory=PasteSettings)


@dataclass(frozen=True)
class InswapperNetworks:
    """The networks of the engine."""

    swapper: SwapNetwork
    embedder: ArcFaceEmbedder
    detector: KeyPointDetector | None
    """Finds the points to align by; without it those of the face's mesh serve."""
    fallback: SwapNetwork | None = None
    """Draws the faces on which `swapper` overflows: the same network in float32."""


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

        Raises NonFiniteResult when the swap network overflows and there is none to take over.
        """
        fallback = self._networks.fallback
        drawn_finite(
            lambda: self._tried(self._networks.swapper), None if fallback is None else lambda: self._tried(fallback)
        )
        if fallback is not None:
            self._tried(fallback)

    def _tried(self, network: SwapNetwork) -> FloatArray:
        grey = np.full((network.size, network.size, 3), 0.5, dtype=np.float32)
        picture: Image = np.full((network.size, network.size, 3), 128, dtype=np.uint8)
        points = swapper_template(network.size, network.size)
        return network.draw(grey, network.latent(self._embedded(picture, points)))

    def check(self, reference: Face, target: Face) -> None:
        """Raise FaceTooSmall or FaceTurnedTooFar when this pair cannot be swapped well."""
        limits = self.limits
        for face, smallest, largest_turn, name in (
            (reference, limits.min_reference_face_pixels, limits.max_reference_turn_degrees, "reference_image"),
            (target, limits.min_target_face_pixels, _MAX_TARGET_TURN, "target_image"),
        ):
            check_width(face, smallest, name)
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
        return replace(result, warnings=(*turn_warnings("reference", reference), *result.warnings))

    def identity(self, views: Sequence[tuple[Image, Face]]) -> FloatArray:
        """Describe a person as the network takes it: 512 numbers of length 1, the mean over one or more views.

        Each view is a picture with its face in it. Raises FaceTurnedTooFar for a face that cannot be aligned.
        """
        found = [self._embedded(image, self._points(image, face, "reference")) for image, face in views]
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
        native, settings = self._networks.swapper.size, self._settings.paste
        points = self._points(target_image, target, "target")
        matrix = similarity(points, swapper_template(native, self._size))
        crop = cut(target_image, matrix, self._size).astype(np.float32) / 255
        drawn = self._run(crop, identity, between_runs)
        mesh = carry(matrix, target.mesh.points)
        mask = paste_mask(crop, mesh, settings, target.pose.yaw)
        if settings.match_colour:
            drawn = match_colour(drawn, crop, mesh, mask)
        image = paste(target_image, drawn * 255, mask, matrix)
        return pasted_result(target_image, image, mask, matrix, turn_warnings("target", target))

    def _run(self, crop: FloatArray, identity: FloatArray, between_runs: Callable[[], None]) -> FloatArray:
        fallback = self._networks.fallback
        draw = partial(self._drawn_by, crop=crop, identity=identity, between_runs=between_runs)
        return drawn_finite(lambda: draw(self._networks.swapper), None if fallback is None else lambda: draw(fallback))

    def _drawn_by(
        self, network: SwapNetwork, crop: FloatArray, identity: FloatArray, between_runs: Callable[[], None]
    ) -> FloatArray:
        latent = network.latent(identity)
        factor = self._size // network.size
        parts = []
        for part in take_apart(crop, factor):
            between_runs()
            parts.append(network.draw(part, latent))
        return put_together(np.stack(parts), factor)

    def _embedded(self, image: Image, points: FloatArray) -> FloatArray:
        found = self._networks.embedder.embed(image, points)
        if not np.isfinite(found).all():
            raise NonFiniteResult(
                "the network that describes identity gave numbers that are not finite: the operator has to name its "
                "float32 file in the profile"
            )
        return found

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


def turn_warnings(name: str, face: Face) -> tuple[str, ...]:
    """Return what to say of a ``reference`` or ``target`` whose head is turned so far that the swap suffers."""
    turn = face.placement.turn_degrees
    if turn <= _DOUBTFUL_TURN:
        return ()
    return (f"the {name}'s head is turned {turn:.0f}° from the camera: the face may be distorted",)
