"""The shape of the swapped face: the target's, moved part of the way towards the reference's proportions.

Both meshes are compared in the canonical, frontal frame, so head pose plays no part. What an expression changes moves
as one piece: an eye, a brow or the mouth is shifted and scaled, then its opening is set back towards the target's. The
outline follows at cheeks and jaw, and the target is bent around it (`outline.py`); above the eyes it stays.
"""

from dataclasses import dataclass, replace

import numpy as np

from core.faces import CanonicalFace, Placement, landmarks
from core.faces.arrays import FloatArray, IntArray
from core.faces.expression import eye_openness, mouth_curve, opening
from core.faces.pose import HeadPose

_SMOOTHING_STEPS = 4
_CURVE_REACH = 0.35
"""Distance from the lips, in widths of the mouth, at which the skin follows them by a third when they are bent."""
_BORDER = 0.03
"""Distance from the outline, in face widths, at which points move in full."""
_NOSE = (1, 2, 4, 5, 6, 98, 195, 197, 327)
_NOSE_REACH = 0.12
"""Distance from these points, in face widths, within which the nose lies."""
UPRIGHT = HeadPose(0.0, 0.0, 0.0)
"""No lean."""
_JAW = 0.25
"""Distance below the eyes, in face widths, from which the outline follows in full."""


@dataclass(frozen=True)
class _Piece:
    """Points that move together, and how far their size may change."""

    points: tuple[int, ...]
    scale: tuple[float, float]
    leans: bool = True
    """Whether they take part in a lean."""


@dataclass(frozen=True)
class _Opening:
    """An eye or the mouth: rings of lower and upper points, the innermost first, and its two corners."""

    lower: tuple[tuple[int, ...], ...]
    upper: tuple[tuple[int, ...], ...]
    corners: tuple[int, int]
    lower_share: float
    """Which part of a correction the lower side takes."""

    def restore(self, own: FloatArray, moved: FloatArray, share: float) -> None:
        """Set the gap of `moved` back to that of `own` relative to the width, this far (0–1), in place."""
        first, last = self.corners
        widths = [max(float(np.linalg.norm(face[first] - face[last])), 1e-9) for face in (own, moved)]
        lower, upper = list(self.lower[0]), list(self.upper[0])
        wanted = (own[lower] - own[upper]) * (widths[1] / widths[0])
        change = share * (wanted - (moved[lower] - moved[upper]))
        for ring in self.lower:
            moved[list(ring)] += self.lower_share * change
        for ring in self.upper:
            moved[list(ring)] -= (1 - self.lower_share) * change


def _lip_rings() -> _Opening:
    lips = landmarks.LIPS_REFINED
    starts = (20, 60, 40, 0)
    return _Opening(
        lower=tuple(lips[start + 1 : start + 10] for start in starts),
        upper=tuple(lips[start + 11 : start + 20] for start in starts),
        corners=(landmarks.MOUTH_RIGHT, landmarks.MOUTH_LEFT),
        lower_share=0.6,
    )


def _lid_rings(eye: tuple[int, ...], corners: tuple[int, int]) -> _Opening:
    starts = (0, 16)
    return _Opening(
        lower=tuple(eye[start + 1 : start + 8] for start in starts),
        upper=tuple(eye[start + 9 : start + 16] for start in starts),
        corners=corners,
        lower_share=0.3,
    )


_PIECES = (
    _Piece(landmarks.RIGHT_EYE_REFINED[:32], (0.85, 1.18), leans=False),
    _Piece(landmarks.LEFT_EYE_REFINED[:32], (0.85, 1.18), leans=False),
    _Piece(landmarks.LIPS_REFINED, (0.88, 1.12)),
    _Piece(landmarks.RIGHT_BROW, (0.9, 1.1)),
    _Piece(landmarks.LEFT_BROW, (0.9, 1.1)),
)
_EYES = (
    _lid_rings(landmarks.RIGHT_EYE_REFINED, landmarks.RIGHT_EYE_CORNERS),
    _lid_rings(landmarks.LEFT_EYE_REFINED, landmarks.LEFT_EYE_CORNERS),
)
_MOUTH = _lip_rings()


@dataclass(frozen=True)
class ShapeSettings:
    """How far the shape follows the reference."""

    strength: float = 1.0
    """Of the way towards the reference's proportions, 0–1."""
    jaw: float = 1.0
    """How far the outline follows below the eyes, 0–1."""
    jaw_limit: float = 0.09
    """Bound of the outline's move in face widths: the target's hair, neck and background have to give way."""
    nod: float = 0.08
    """Share of the difference in pitch by which the reference's form is tilted towards the target's pose. The mesh
    takes a nod for smaller than it is; the rest of it would come along as form."""
    piece_detail: float = 1.0
    """How far eyes, brows and lips take the reference's own form, over being shifted and scaled as one, 0–1."""
    keep_curve: float = 0.3
    """How far the mouth is bent back to the target's curve, 0–1: the target's smile, not the reference's."""
    keep_lids: float = 0.6
    """How far the gap of the lids goes back to the target's where both look, 0–1. Between open eyes a part of the
    difference is the persons' own form; where the reference's eyes are closed it goes back in full."""
    closed_eye: float = 0.5
    """Below this share of the target's eye openness an eye of the reference may be closed,"""
    shut_eye: float = 0.15
    """and is, if its gap is under this share of its width: narrow eyes beside a wide look are not closed."""


@dataclass(frozen=True)
class ShapeModel:
    """What the shape transfer needs of the canonical face, worked out once."""

    weights: FloatArray
    """468: how far each point may move by itself, 0 at the outline, 1 inside."""
    jaw: FloatArray
    """468: how far it may follow the outline, 0 above the eyes, 1 at cheeks and jaw."""
    smoothing: FloatArray
    """468×468: a few steps of averaging with the neighbours."""
    leaning: FloatArray
    """468: how far it takes part in a lean, 0 at nose and eyes, where it costs much likeness, 1 elsewhere."""

    @classmethod
    def of(cls, canonical: CanonicalFace) -> "ShapeModel":
        """Work out weights and smoothing."""
        outline = canonical.points[list(landmarks.OVAL)]
        distance = np.linalg.norm(canonical.points[:, None, :2] - _dense(outline)[None, :, :2], axis=2).min(axis=1)
        ramp = np.clip(distance / _BORDER, 0, 1)
        weights = ramp * ramp * (3 - 2 * ramp)
        neighbours = np.eye(landmarks.POINTS)
        for i, j in ((0, 1), (1, 2), (2, 0)):
            a, b = canonical.triangles[:, i], canonical.triangles[:, j]
            neighbours[a, b] = neighbours[b, a] = 1
        step = neighbours / neighbours.sum(axis=1, keepdims=True)
        eyes = canonical.points[[*landmarks.RIGHT_EYE, *landmarks.LEFT_EYE], 1].mean()
        below = np.clip((canonical.points[:, 1] - eyes) / _JAW, 0, 1)
        jaw = below * below * (3 - 2 * below)
        nose = canonical.points[list(_NOSE), :2]
        away = np.linalg.norm(canonical.points[:, None, :2] - nose[None], axis=2).min(axis=1)
        leaning = (away > _NOSE_REACH).astype(np.float64)
        for piece in _PIECES:
            leaning[list(piece.points)] = piece.leans
        return cls(weights, jaw, np.linalg.matrix_power(step, _SMOOTHING_STEPS), leaning)


def blend_shape(
    target: FloatArray,
    target_placement: Placement,
    reference: FloatArray,
    reference_placement: Placement,
    model: ShapeModel,
    settings: ShapeSettings,
    lean: HeadPose = UPRIGHT,
) -> FloatArray:
    """Return the 468×3 mesh of the result in the target's pixels.

    `target` and `reference` are meshes in the pixels of their own pictures, the placements say how the canonical face
    stands there. All but nose and eyes of the reference's form is turned by `lean` beside what the settings say.
    """
    own = target_placement.normalise(target)
    nod = settings.nod * (target_placement.pose.pitch - reference_placement.pose.pitch)
    other = reference_placement.normalise(reference)
    other += model.leaning[:, None] * (_turned(other, replace(lean, pitch=lean.pitch + nod)) - other)
    moved = other - own
    for piece in _PIECES:
        index = list(piece.points)
        whole = _move_as_one(own[index], other[index], piece.scale)
        moved[index] = whole + settings.piece_detail * (moved[index] - whole)
    smooth = model.smoothing @ moved
    weights = model.weights.copy()
    for piece in _PIECES:
        index = list(piece.points)
        smooth[index] = moved[index]
        weights[index] = weights[index].mean()
    outline = settings.jaw * model.jaw * (1 - weights)
    moves = weights[:, None] * smooth + outline[:, None] * _bounded(smooth, settings.jaw_limit)
    result = own + settings.strength * moves
    lids = 1.0 if eyes_closed(target, reference, settings) else settings.keep_lids
    for eye in _EYES:
        eye.restore(own, result, lids)
    _MOUTH.restore(own, result, 1.0)
    _restore_curve(own, result, settings.keep_curve)
    return target_placement.place(result)


def eyes_closed(target: FloatArray, reference: FloatArray, settings: ShapeSettings) -> bool:
    """Whether an eye of the reference is closed beside the target's. Meshes are in pixels.

    It is told for both eyes together: one eye of each person side by side would be nobody's look.
    """
    eyes = ((landmarks.RIGHT_LIDS, landmarks.RIGHT_EYE_CORNERS), (landmarks.LEFT_LIDS, landmarks.LEFT_EYE_CORNERS))
    least = min(opening(reference, lids, corners) for lids, corners in eyes)
    return least < min(settings.shut_eye, settings.closed_eye * eye_openness(target))


def _turned(points: FloatArray, by: HeadPose) -> FloatArray:
    """The N×3 points of a frontal face, posed like this."""
    sines, cosines = (wave(np.radians([by.pitch, by.yaw, by.roll])) for wave in (np.sin, np.cos))
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cosines[0], -sines[0]], [0.0, sines[0], cosines[0]]])
    turn = np.array([[cosines[1], 0.0, -sines[1]], [0.0, 1.0, 0.0], [sines[1], 0.0, cosines[1]]])
    tilt = np.array([[cosines[2], -sines[2], 0.0], [sines[2], cosines[2], 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(points @ (tilt @ turn @ nod).T)


def _bounded(moves: FloatArray, limit: float) -> FloatArray:
    """N×3 moves, the longer ones shortened to come near `limit` at most."""
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    return np.asarray(moves * np.tanh(lengths / limit) * limit / np.maximum(lengths, 1e-9))


def _move_as_one(own: FloatArray, other: FloatArray, limits: tuple[float, float]) -> FloatArray:
    """Displacement of a piece that is shifted to the other's middle and scaled evenly to its width."""
    middle, other_middle = own.mean(axis=0), other.mean(axis=0)
    scale = float(np.clip(np.ptp(other[:, 0]) / max(float(np.ptp(own[:, 0])), 1e-9), *limits))
    return np.asarray((own - middle) * (scale - 1.0) + (other_middle - middle))


def _restore_curve(own: FloatArray, moved: FloatArray, share: float) -> None:
    """Bend the mouth of `moved` towards the curve of `own`, in place: a parabola over its width.

    The cheeks beside it and the chin below follow less and less, the outline and what is above the nose not at all.
    """
    corners = moved[[landmarks.MOUTH_RIGHT, landmarks.MOUTH_LEFT]]
    width = max(float(np.linalg.norm(corners[0] - corners[1])), 1e-9)
    lift = share * (mouth_curve(own) - mouth_curve(moved)) * width
    middle = corners.mean(axis=0)
    across = np.clip((moved[:, 0] - middle[0]) / (0.5 * width), -1, 1)
    away = np.linalg.norm(moved[:, None, :2] - moved[None, list(landmarks.LIPS_OUTER), :2], axis=2).min(axis=1)
    follow = np.exp(-((away / (_CURVE_REACH * width)) ** 2))
    follow[list(landmarks.LIPS_REFINED)] = 1
    follow[list(landmarks.OVAL)] = 0
    moved[:, 1] -= lift * across**2 * follow


def _dense(outline: FloatArray) -> FloatArray:
    steps = np.linspace(0, 1, 4, endpoint=False)[:, None, None]
    return np.asarray((outline[None] * (1 - steps) + np.roll(outline, -1, axis=0)[None] * steps).reshape(-1, 3))


def mouth_triangles() -> IntArray:
    """Triangles over the mouth's opening, which the canonical face leaves out; clockwise in the picture."""
    lower = landmarks.LIPS_INNER[:11]
    upper = (lower[0], *landmarks.LIPS_INNER[11:][::-1], lower[10])
    triangles = []
    for i in range(10):
        triangles.append((upper[i], upper[i + 1], lower[i + 1]))
        triangles.append((upper[i], lower[i + 1], lower[i]))
    return np.array([t for t in triangles if len(set(t)) == 3], dtype=np.int64)
