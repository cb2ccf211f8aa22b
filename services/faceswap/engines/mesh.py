"""The mesh engine: the reference's face is bent onto the target's dense mesh, lit and toned as the target, blended in.

No network draws anything here, so the result is never to be called a model's output.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from core.faces import CanonicalFace, Face, landmarks
from core.faces.arrays import FloatArray, Image, IntArray
from core.faces.blending import match_detail
from core.faces.pose import HeadPose, place_face
from core.faces.region import region_around
from likeness.errors import FaceTurnedTooFar
from services.faceswap.engines import masks
from services.faceswap.engines.base import EngineLimits, EngineResult, check_width
from services.faceswap.engines.blend import blend_bands, seam_ratio
from services.faceswap.engines.colour import ToneMasks, ToneSettings, to_lab, to_rgb, transfer_tone
from services.faceswap.engines.occluders import Occluders, find_hair, find_occluders, hanging_hair
from services.faceswap.engines.outline import bend_outline
from services.faceswap.engines.scene import Kept, Scene, Warped
from services.faceswap.engines.shape import (
    UPRIGHT,
    ShapeModel,
    ShapeSettings,
    blend_shape,
    eyes_closed,
    mouth_triangles,
)
from services.faceswap.engines.warp import Source, prepare_source, rasterise, vertex_facing

_MARGIN = 0.12
"""Room around the mesh, relative to its longer side."""
_INTERIOR = (0.08, 0.16)
"""Where inside the outline the reference's own shading begins to show, and over how much it comes in."""
_MIRROR_GAIN = 6.0
"""Degrees of yaw that mirroring the reference has to save: a face is not quite symmetric."""
_FINE = 2
_FINE_BELOW = 140
"""Faces narrower than this are warped at twice their size and averaged down: sharper than one sample a pixel."""
_HAIR_WIDTH = 160.0
"""Width in pixels of a reference's face at which its hair is looked for."""


GLASSES_KEPT = "the target's glasses were kept: they cost likeness"
"""Warning of a swap under glasses."""

LIMITS = EngineLimits(
    max_pose_degrees=30.0,
    max_reference_turn_degrees=25.0,
    min_reference_face_pixels=48,
    min_target_face_pixels=24,
)
"""What the engine takes."""


@dataclass(frozen=True)
class MeshSettings:
    """How the mesh engine works. Lengths are in widths of the target's face."""

    limits: EngineLimits = LIMITS
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    erode: float = 0.0
    """How much of the oval's rim stays the target's."""
    feather: float = 0.065
    """Over how much the mask rises from 0 to 1."""
    stretch: tuple[float, float] = (2.2, 4.0)
    """Stretch of the reference in the result at which its mirrored other side begins to step in, and fully has."""
    rim: tuple[float, float] = (-0.05, 0.05)
    """Where inside the outline the reference's features begin to show, and over how much they come in full."""
    hair_margin: float = 0.045
    """How far around the reference's hair its features are left out."""
    fringe: tuple[float, float] = (0.09, 0.06)
    """The same on the forehead, where the target's own stays, and over how much that falls off."""
    target_hair_margin: float = 0.015
    """How far around the target's hair the target's skin stays."""
    keep_glasses: bool = True
    """Keep the frame of the target's glasses; eyes behind a broad frame cost likeness."""
    tone: ToneSettings = field(default_factory=ToneSettings)


class MeshEngine:
    """See the module. Holds only what it works out once from the canonical face."""

    name = "mesh"

    def __init__(self, canonical: CanonicalFace, settings: MeshSettings | None = None) -> None:
        """Prepare for meshes with the triangles of `canonical`."""
        self._canonical = canonical
        self._settings = settings or MeshSettings()
        self._shape = ShapeModel.of(canonical)
        self._mouth = mouth_triangles()
        self._triangles: IntArray = np.concatenate([canonical.triangles, self._mouth])

    @property
    def limits(self) -> EngineLimits:
        """What the engine takes."""
        return self._settings.limits

    def check(self, reference: Face, target: Face) -> None:
        """Raise FaceTooSmall or FaceTurnedTooFar when this pair cannot be swapped well."""
        limits = self.limits
        for face, smallest, name in (
            (reference, limits.min_reference_face_pixels, "reference_image"),
            (target, limits.min_target_face_pixels, "target_image"),
        ):
            check_width(face, smallest, name)
        turn = reference.placement.turn_degrees
        if turn > limits.max_reference_turn_degrees:
            raise FaceTurnedTooFar(
                f"the reference's head is turned {turn:.0f}° from the camera ({_angles(reference)}): the engine "
                f"'{self.name}' takes up to {limits.max_reference_turn_degrees:.0f}°, since the hidden side cannot be "
                "shown; use a picture that looks more into the camera",
                field="reference_image",
                turn_degrees=f"{turn:.0f}",
                max_degrees=f"{limits.max_reference_turn_degrees:.0f}",
            )
        yaw = min(abs(sign * reference.pose.yaw - target.pose.yaw) for sign in (1, -1))
        pitch = abs(reference.pose.pitch - target.pose.pitch)
        if max(yaw, pitch) > limits.max_pose_degrees:
            raise FaceTurnedTooFar(
                f"the reference's head ({_angles(reference)}) is turned too far from the target's "
                f"({_angles(target)}): the engine '{self.name}' bridges {limits.max_pose_degrees:.0f}°",
                field="target_image" if target.placement.turn_degrees > turn else "reference_image",
                yaw_difference_degrees=f"{yaw:.0f}",
                pitch_difference_degrees=f"{pitch:.0f}",
                max_degrees=f"{limits.max_pose_degrees:.0f}",
            )

    def swap(
        self,
        target_image: Image,
        target: Face,
        reference_image: Image,
        reference: Face,
        lean: HeadPose = UPRIGHT,
    ) -> EngineResult:
        """Return `target_image` with the face `target` changed to the face `reference`.

        A reference that is turned the other way than the target is mirrored when that brings its yaw nearer. Its form
        is turned by `lean` degrees against a change of pose that a first swap made; see `pose_keeping.py`.
        """
        self.check(reference, target)
        settings = self._settings
        warnings: list[str] = []
        own = reference.mesh.points
        if abs(-reference.pose.yaw - target.pose.yaw) + _MIRROR_GAIN < abs(reference.pose.yaw - target.pose.yaw):
            reference_image, own = self._mirrored(reference_image, own)
            warnings.append("the reference was mirrored: its head is turned the other way")
        placement = place_face(own, self._canonical.points)
        shape = blend_shape(target.mesh.points, target.placement, own, placement, self._shape, settings.shape, lean)
        region = region_around(target.mesh.points, target_image.shape, _MARGIN)
        origin = np.array([region.left, region.top, 0.0])
        before = np.ascontiguousarray(target_image[region.rows, region.columns])
        bent = bend_outline(before, target.mesh.points - origin, shape - origin, float(np.ptp(shape[:, 0])))
        scene = Scene(bent.pixels, bent.points, shape - origin)

        warped = self._warp(scene, reference_image, own)
        kept = self._kept_from_target(scene, own)
        target_lab, warped_lab = to_lab(scene.pixels), to_lab(warped.pixels)
        over = find_occluders(target_lab, scene.target, scene.size, scene.width, target.pose.yaw)
        toned = transfer_tone(warped_lab, target_lab, self._tone_masks(scene, warped, over), scene.width, settings.tone)
        skin = masks.fill(scene.result, landmarks.OVAL, scene.size)
        plain = skin * (1 - masks.features(scene.result, scene.size, scene.width)) * (1 - over.hair)
        inside = match_detail(to_rgb(toned), scene.pixels, plain * (over.unlike_skin < 0.1), skin)
        inside += (kept.pixels - inside) * kept.share[..., None]
        oval = masks.fill(scene.result, landmarks.OVAL, scene.size)
        inside = np.where(oval[..., None] > 0, inside, scene.pixels).astype(np.float32)
        mask = masks.inner_oval(scene.result, scene.size, scene.width, settings.erode, settings.feather)
        mask *= 1 - masks.soften(over.hair, settings.target_hair_margin * scene.width)
        mask *= masks.blur(warped.seen, 0.02 * scene.width)
        levels = int(np.clip(np.round(np.log2(max(scene.width, 8.0))) - 3, 2, 6))
        blended = blend_bands(inside, scene.pixels, mask, levels)
        blended = scene.pixels + (blended - scene.pixels) * masks.smoothstep(0.0, 0.02, mask)[..., None]
        if settings.keep_glasses:
            # Laid over the finished face. Left out of the mask, it would keep its surroundings the target's too.
            blended += (scene.pixels - blended) * over.glasses[..., None]
            if over.glasses.any():
                warnings.append(GLASSES_KEPT)
        patch = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
        image = target_image.copy()
        image[region.rows, region.columns] = patch
        ratio = seam_ratio(scene.pixels, patch.astype(np.float32), mask)
        return EngineResult(image, region, mask, ratio, tuple(warnings))

    def _tone_masks(self, scene: Scene, warped: Warped, over: Occluders) -> ToneMasks:
        size, width = scene.size, scene.width
        features = np.maximum(masks.features(scene.result, size, width), masks.features(scene.target, size, width))
        skin = masks.fill(scene.result, landmarks.OVAL, size) * (1 - features)
        rim = 1 - masks.inner_oval(scene.result, size, width, *self._settings.rim)
        whole = masks.forehead(scene.result, size, width, beyond=_MARGIN)
        margin, softness = (length * width for length in self._settings.fringe)
        fringe = hanging_hair(warped.hair, whole, margin, softness)
        hair = np.maximum(masks.soften(warped.hair, self._settings.hair_margin * width), fringe)
        return ToneMasks(
            reference_skin=skin * (1 - np.maximum(warped.hair, fringe)) * warped.seen,
            target_skin=skin * (1 - over.hair) * (1 - over.unlike_skin),
            interior=masks.inner_oval(scene.result, size, width, *_INTERIOR) * (1 - fringe),
            plain=np.maximum(hair, rim),
            coloured=masks.blur(masks.lips_and_eyes(scene.result, size), 0.02 * width),
            brows=masks.blur(masks.around_brows(scene.target, size, 0.1 * width), 0.02 * width),
            forehead=masks.forehead(scene.result, size, width),
            middle=masks.middle(scene.result, size, width),
        )

    def _warp(self, scene: Scene, reference_image: Image, own: FloatArray) -> Warped:
        """Bend the reference onto the result's mesh. `own` is its mesh in its picture."""
        triangles, mirror = self._canonical.triangles, self._canonical.mirror
        fine = _FINE if scene.width < _FINE_BELOW else 1
        local = scene.result * fine + np.array([(fine - 1) / 2, (fine - 1) / 2, 0])
        raster = rasterise(local, triangles, (scene.size[0] * fine, scene.size[1] * fine))
        stretch = np.maximum(vertex_facing(local, triangles), 0.05) / np.maximum(vertex_facing(own, triangles), 0.02)
        direct = 1 - masks.smoothstep(*self._settings.stretch, stretch)
        columns = [own[:, :2], direct[:, None]]
        use_mirror = bool((direct < 0.99).any())
        if use_mirror:
            columns += [own[mirror][:, :2], direct[mirror][:, None]]
        fields = raster.interpolate(np.concatenate(columns, axis=1))
        source = prepare_source(reference_image, own, local, triangles)
        hair = self._reference_hair(reference_image, own)
        pixels, hidden = source.sample(fields[..., :2]), hair.sample(fields[..., :2])
        seen = np.clip(fields[..., 2], 0, 1)
        if use_mirror:
            weight = masks.blur(seen, 0.03 * scene.width * fine)
            pixels = pixels * weight[..., None] + source.sample(fields[..., 3:5]) * (1 - weight[..., None])
            hidden = hidden * weight + hair.sample(fields[..., 3:5]) * (1 - weight)
            seen = np.maximum(seen, np.clip(fields[..., 5], 0, 1))
        covered = (raster.cover >= 0).astype(np.float32)
        seen, hidden = seen.astype(np.float32) * covered, hidden.astype(np.float32) * covered
        if fine > 1:
            pixels, seen, hidden, covered = (_reduce(plane, scene.size) for plane in (pixels, seen, hidden, covered))
        # The triangles do not reach past the oval; there the target stands in.
        pixels = np.where(covered[..., None] > 0.99, pixels, scene.pixels)
        return Warped(pixels.astype(np.float32), seen, hidden)

    def _reference_hair(self, image: Image, own: FloatArray) -> Source:
        """The reference's hair mask, ready to be sampled like its picture."""
        region = region_around(own, image.shape, 2 * _MARGIN)
        part = image[region.rows, region.columns]
        shrink = max(1.0, float(np.ptp(own[:, 0])) / _HAIR_WIDTH)
        size = (max(2, round(part.shape[1] / shrink)), max(2, round(part.shape[0] / shrink)))
        ratio = np.array([part.shape[1] / size[0], part.shape[0] / size[1]])
        small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        offset = np.array([region.left, region.top], dtype=np.float64)
        points = (own[:, :2] - offset + 0.5) / ratio - 0.5
        lab = to_lab(small.astype(np.float32))
        return Source(find_hair(lab, points, size[::-1], float(np.ptp(points[:, 0]))), offset, ratio)

    def _kept_from_target(self, scene: Scene, own: FloatArray) -> Kept:
        """What stays the target's, moved with the shape: the mouth's inside, and eyes that the reference has closed."""
        pieces = [self._mouth]
        triangles = self._canonical.triangles
        if eyes_closed(scene.target, own, self._settings.shape):
            for eye in (landmarks.RIGHT_EYE, landmarks.LEFT_EYE):
                pieces.append(triangles[np.isin(triangles, eye).all(axis=1)])
        chosen = np.concatenate(pieces)
        raster = rasterise(scene.result, chosen, scene.size)
        cover = (raster.cover >= 0).astype(np.float32)
        if not cover.any():
            return Kept(scene.pixels, cover)
        places = raster.interpolate(scene.target[:, :2])
        source = Source(scene.pixels, np.zeros(2), np.ones(2))
        soft = masks.blur(cover, 0.008 * scene.width)
        # Beside the opening the map is not defined, so the feather shows the target where it stands.
        inside = np.where(cover[..., None] > 0, source.sample(places), scene.pixels)
        return Kept(inside.astype(np.float32), soft * cover)

    def _mirrored(self, image: Image, points: FloatArray) -> tuple[Image, FloatArray]:
        mirrored = points[self._canonical.mirror].copy()
        mirrored[:, 0] = image.shape[1] - 1 - mirrored[:, 0]
        return np.ascontiguousarray(image[:, ::-1]), mirrored


def _angles(face: Face) -> str:
    return f"yaw {face.pose.yaw:.0f}°, pitch {face.pose.pitch:.0f}°"


def _reduce(plane: FloatArray, size: tuple[int, int]) -> FloatArray:
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA))
