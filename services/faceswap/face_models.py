"""Face models: one person as several photos show them, with who it is and the views that engines need.

The photos' embeddings become one by their mean or median; photos of somebody else are found by their cosine to the
others. Beside the embedding a model keeps views: the part of a photo around the face with its mesh, one for each
direction in which the head looks, so that an engine which bends a photo gets the one nearest in pose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import cv2
import numpy as np

from core.faces import CanonicalFace, Detection, Face, FaceAnalyser, Mesh, identity_score
from core.faces.arrays import FloatArray, Image
from core.faces.pose import place_face
from core.faces.region import region_around
from likeness.errors import PhotosUnusable
from services.faceswap.engines.base import SwapEngine
from services.faceswap.references import View
from services.faceswap.swapper import BLURRED

FIELD = "images"
MIN_FACE_PIXELS = 48
"""Smallest width of a photo's face."""
MAX_TURN_DEGREES = 60.0
"""How far a photo's head may look past the camera: beyond it the embedding does not tell who it is."""
OUTLIER_BELOW = 0.3
"""Cosine to the mean of the other photos below which a photo shows somebody else."""
_STEP_DEGREES = 12.0
"""A model keeps one view for each step of yaw and of pitch."""
_MAX_VIEWS = 8
_VIEW_FACE_PIXELS = 384
"""Width to which a view's face is shrunk."""
_PLENTY_PIXELS = 192
"""Width of a face from which more pixels make no better view."""
_VIEW_MARGIN = 0.5
"""Room around a view's mesh, relative to its longer side."""
_LISTED = 6


class Average(Enum):
    """How the photos' embeddings become one."""

    MEAN = "mean"
    MEDIAN = "median"


class Rejection(Enum):
    """Why a photo is no part of a model."""

    NO_FACE = "no face"
    SEVERAL_FACES = "several faces"
    TOO_SMALL = "too small"
    BLURRED = "blurred"
    OUTLIER = "somebody else"
    TURNED_TOO_FAR = "turned too far"


@dataclass(frozen=True)
class Photo:
    """What became of a photo."""

    index: int
    """Its place in the request."""
    face: Face | None
    """Its face in the photo's pixels; None where not exactly one was found."""
    rejection: Rejection | None = None
    """None when the photo is part of the model."""
    detail: str = ""
    """The rejection for a person, with the numbers."""
    similarity: float | None = None
    """Cosine to the model; of an outlier to the other photos."""


@dataclass(frozen=True)
class ModelView:
    """A view that a model keeps."""

    view: View
    image_index: int
    """Place of its photo in the request that built the model."""
    similarity: float
    """Cosine to the model, −1 to 1."""


@dataclass(frozen=True)
class FaceModel:
    """A person as several photos show them."""

    average: Average
    embedding: FloatArray
    """Who it is: as `Face.embedding`."""
    views: tuple[ModelView, ...]
    """The most typical first."""
    photo_count: int
    agreement: float
    """Mean cosine of the photos to the model; 1 for a single photo."""


@dataclass(frozen=True)
class _Candidate:
    photo: Photo
    view: View


def build_face_model(
    analyser: FaceAnalyser, photos: Sequence[Callable[[], Image]], *, average: Average, min_score: float
) -> tuple[FaceModel, tuple[Photo, ...]]:
    """Build a model; return it with what became of each photo.

    `photos` are called in turn, each for an H×W×3 uint8 RGB picture that is let go before the next: only the parts
    around the faces stay in memory. Raises PhotosUnusable when no photo is left or the photos show different people,
    and what the calls raise.
    """
    found = [_look_at(analyser, index, photo(), min_score) for index, photo in enumerate(photos)]
    report = {item.index: item for item, _ in found}
    usable = [_Candidate(photo, view) for photo, view in found if view is not None]
    usable = _without(report, usable, _blurred(usable))
    if not usable:
        raise PhotosUnusable(f"no photo can be used: {_listed(report)}", field=FIELD, photos=str(len(report)))
    usable = _without(report, usable, _outliers(usable, len(report)))
    embeddings = np.stack([_embedding(candidate) for candidate in usable])
    embedding = average_embedding(embeddings, average)
    similarities = embeddings @ embedding
    views = []
    for candidate, similarity in zip(usable, similarities, strict=True):
        report[candidate.photo.index] = replace(candidate.photo, similarity=float(similarity))
        views.append(ModelView(candidate.view, candidate.photo.index, float(similarity)))
    model = FaceModel(average, embedding, _typical_views(views), len(usable), float(similarities.mean()))
    return model, tuple(report[index] for index in sorted(report))


def average_embedding(embeddings: FloatArray, average: Average) -> FloatArray:
    """Return the mean or the median of N×D embeddings, of length 1."""
    middle = np.median(embeddings, axis=0) if average is Average.MEDIAN else embeddings.mean(axis=0)
    return np.asarray(middle / max(float(np.linalg.norm(middle)), 1e-9))


def outliers(embeddings: FloatArray, below: float = OUTLIER_BELOW) -> dict[int, float]:
    """Return the rows of N×D embeddings that are unlike the others, each with its cosine to their mean.

    The worst is taken out, and the rest compared anew, while three or more are left: with two there is no telling which
    is the wrong one.
    """
    left = list(range(len(embeddings)))
    out: dict[int, float] = {}
    while len(left) > 2:
        scores = {
            row: float(embeddings[row] @ average_embedding(embeddings[[r for r in left if r != row]], Average.MEAN))
            for row in left
        }
        worst = min(scores, key=lambda row: scores[row])
        if scores[worst] >= below:
            break
        out[worst] = scores[worst]
        left.remove(worst)
    return out


def takes(engine: SwapEngine, view: ModelView) -> bool:
    """Tell whether an engine takes a view as a reference, whatever the target is."""
    face, limits = view.view.face, engine.limits
    small = face.width < limits.min_reference_face_pixels
    return not small and face.placement.turn_degrees <= limits.max_reference_turn_degrees


def _look_at(analyser: FaceAnalyser, index: int, image: Image, min_score: float) -> tuple[Photo, View | None]:
    faces = analyser.analyse(image, min_score=min_score)
    if len(faces) != 1:
        rejection = Rejection.SEVERAL_FACES if faces else Rejection.NO_FACE
        detail = f"it shows {len(faces)} faces: crop it to one" if faces else f"no face of score {min_score:g} or more"
        return Photo(index, None, rejection, detail), None
    (face,) = faces
    turn = face.placement.turn_degrees
    if face.width < MIN_FACE_PIXELS:
        detail = f"the face is {face.width:.0f} pixels wide, at least {MIN_FACE_PIXELS} are needed"
        return Photo(index, face, Rejection.TOO_SMALL, detail), None
    if turn > MAX_TURN_DEGREES:
        detail = f"the head is turned {turn:.0f}° from the camera, at most {MAX_TURN_DEGREES:.0f}° can be used"
        return Photo(index, face, Rejection.TURNED_TOO_FAR, detail), None
    return Photo(index, face), cut_view(image, face, analyser.canonical)


def cut_view(image: Image, face: Face, canonical: CanonicalFace) -> View:
    """Return the part of a picture around a face, shrunk to what an engine needs, and the face in its pixels."""
    region = region_around(face.mesh.points, image.shape, _VIEW_MARGIN)
    part = np.ascontiguousarray(image[region.rows, region.columns])
    scale = min(1.0, _VIEW_FACE_PIXELS / float(np.ptp(face.mesh.points[:, 0])))
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    ratio = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
    if scale < 1:
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    corner = np.array([region.left, region.top])

    def moved(points: FloatArray) -> FloatArray:
        # Pixel centres are at whole numbers.
        return np.asarray((points - corner + 0.5) * ratio - 0.5)

    mesh = face.mesh.points.copy()
    mesh[:, :2] = moved(mesh[:, :2])
    mesh[:, 2] *= float(ratio.mean())
    box = face.detection.box
    detection = Detection(
        np.concatenate([moved(box[:2]), box[2:] * ratio]), moved(face.detection.key_points), face.detection.score
    )
    return View(
        part,
        replace(
            face,
            detection=detection,
            mesh=Mesh(mesh, face.mesh.presence),
            placement=place_face(mesh, canonical.points),
            landmarks=moved(face.landmarks),
        ),
    )


def _embedding(candidate: _Candidate) -> FloatArray:
    return candidate.view.face.embedding


def _blurred(usable: Sequence[_Candidate]) -> dict[int, tuple[Rejection, str, float | None]]:
    """Return the blurred photos, unless all are: a soft likeness is better than none."""
    soft: dict[int, tuple[Rejection, str, float | None]] = {
        number: (Rejection.BLURRED, f"sharpness {item.view.face.sharpness:.0f}, below {BLURRED:.0f}", None)
        for number, item in enumerate(usable)
        if item.view.face.sharpness < BLURRED
    }
    return soft if len(soft) < len(usable) else {}


def _outliers(usable: Sequence[_Candidate], photos: int) -> dict[int, tuple[Rejection, str, float | None]]:
    found = outliers(np.stack([_embedding(candidate) for candidate in usable]))
    left = [candidate for number, candidate in enumerate(usable) if number not in found]
    if len(left) == 2:
        score = identity_score(_embedding(left[0]), _embedding(left[1]))
        if score < OUTLIER_BELOW:
            names = " and ".join(str(candidate.photo.index) for candidate in left)
            raise PhotosUnusable(
                f"the photos show different people: even photos {names}, the most alike, have a cosine of "
                f"{score:.2f}, below {OUTLIER_BELOW:g}; give photos of one person",
                field=FIELD,
                photos=str(photos),
            )
    return {
        number: (Rejection.OUTLIER, f"cosine {score:.2f} to the other photos, below {OUTLIER_BELOW:g}", score)
        for number, score in found.items()
    }


def _without(
    report: dict[int, Photo],
    usable: Sequence[_Candidate],
    rejected: dict[int, tuple[Rejection, str, float | None]],
) -> list[_Candidate]:
    """Return what is usable but for the rejected, which go into the report."""
    for number, (rejection, detail, similarity) in rejected.items():
        photo = usable[number].photo
        report[photo.index] = replace(photo, rejection=rejection, detail=detail, similarity=similarity)
    return [candidate for number, candidate in enumerate(usable) if number not in rejected]


def _typical_views(views: Sequence[ModelView]) -> tuple[ModelView, ...]:
    """Return the best view of each direction, the most typical first."""
    kept: dict[tuple[int, int], ModelView] = {}
    for item in sorted(views, key=lambda view: (-_worth(view), view.image_index)):
        pose = item.view.face.pose
        kept.setdefault((round(pose.yaw / _STEP_DEGREES), round(pose.pitch / _STEP_DEGREES)), item)
    return tuple(sorted(kept.values(), key=lambda view: (-view.similarity, view.image_index)))[:_MAX_VIEWS]


def _worth(item: ModelView) -> float:
    """Return how good a view is: typical of the person, and large enough to show it."""
    return item.similarity * math.sqrt(min(1.0, item.view.face.width / _PLENTY_PIXELS))


def _listed(report: dict[int, Photo]) -> str:
    texts = [f"photo {index}: {photo.detail}" for index, photo in sorted(report.items())]
    more = [f"and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    return "; ".join(texts[:_LISTED] + more)
