"""The one face analyser: detection, mesh, pose, attributes, identity."""

from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from pathlib import Path

import numpy as np

from core.faces.arrays import FloatArray, Image
from core.faces.attributes import AttributeEstimator, FaceAttributes
from core.faces.canonical import CanonicalFace, load_canonical_face
from core.faces.detector import Detection, FaceDetector, overlap
from core.faces.embedding import FaceEmbedder, align, five_points, sharpness
from core.faces.expression import eye_openness, mouth_curve, mouth_openness
from core.faces.mesh import FaceMesher, Mesh, crop_of_box
from core.faces.pose import HeadPose, Placement, place_face
from core.faces.search import FaceSearch
from core.faces.weights import DEFAULT_FOLDER

_ATTRIBUTE_MARGIN = 1.3
_PRESENCE = 0.5
_SURE_SCORE = 0.8
_UNSURE_PRESENCE = 0.9
"""What the mesh network has to say of a face that the detector is not sure of."""
_AGAIN_MIN_SCORE = 0.5
_SAME_MESH = 0.4
"""Intersection over union from which two meshes are of one face."""


class FaceOrder(Enum):
    """Order of the faces of a picture; equal faces keep the order of their scores."""

    LARGE_TO_SMALL = auto()
    SMALL_TO_LARGE = auto()
    LEFT_TO_RIGHT = auto()
    RIGHT_TO_LEFT = auto()
    TOP_TO_BOTTOM = auto()
    BOTTOM_TO_TOP = auto()
    BEST_SCORE = auto()


@dataclass(frozen=True)
class Face:
    """A face of a picture. Coordinates are pixels of that picture."""

    detection: Detection
    """Box, key points, score."""
    mesh: Mesh
    """Dense mesh."""
    placement: Placement
    """How the canonical face stands in the picture."""
    landmarks: FloatArray
    """5×2: right eye, left eye, nose, right and left mouth corner."""
    embedding: FloatArray
    """256 numbers of length 1; compare with identity_score."""
    sharpness: float
    """Variance of the Laplacian of the aligned face; below about 30 is blurred."""
    attributes: FaceAttributes | None
    """Gender and age; None when they were not asked for."""

    @cached_property
    def pose(self) -> HeadPose:
        """How the head is turned."""
        return self.placement.pose

    @property
    def width(self) -> float:
        """Width of the detected box in pixels."""
        return float(self.detection.box[2])

    @property
    def mouth_openness(self) -> float:
        """Gap between the lips over the width of the mouth."""
        return mouth_openness(self.mesh.points)

    @property
    def eye_openness(self) -> float:
        """Gap between the lids over the width of the eye, mean of both eyes."""
        return eye_openness(self.mesh.points)

    @property
    def mouth_curve(self) -> float:
        """How far the mouth's corners are above the middle of its lips, over its width: positive for a smile."""
        return mouth_curve(self.placement.normalise(self.mesh.points))


def order_faces(faces: list[Face], order: FaceOrder) -> list[Face]:
    """Return the faces in `order`."""

    def key(face: Face) -> float:
        x, y, width, height = (float(value) for value in face.detection.box)
        return {
            FaceOrder.LARGE_TO_SMALL: -width * height,
            FaceOrder.SMALL_TO_LARGE: width * height,
            FaceOrder.LEFT_TO_RIGHT: x + width / 2,
            FaceOrder.RIGHT_TO_LEFT: -x - width / 2,
            FaceOrder.TOP_TO_BOTTOM: y + height / 2,
            FaceOrder.BOTTOM_TO_TOP: -y - height / 2,
            FaceOrder.BEST_SCORE: -face.detection.score,
        }[order]

    return sorted(sorted(faces, key=lambda face: -face.detection.score), key=key)


class FaceAnalyser:
    """Finds and describes faces. Holds nothing but the networks; safe to use from several threads."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> None:
        """Load and verify the networks of `folder`, each with `threads` threads; raises ModelFileError."""
        self._search = FaceSearch(FaceDetector(folder, threads))
        self._mesher = FaceMesher(folder, threads)
        self._attributes = AttributeEstimator(folder, threads)
        self._embedder = FaceEmbedder(folder, threads)
        self.canonical: CanonicalFace = load_canonical_face(folder)

    def analyse(
        self,
        image: Image,
        *,
        min_score: float = 0.5,
        order: FaceOrder = FaceOrder.LARGE_TO_SMALL,
        attributes: bool = True,
        thorough: bool = False,
    ) -> list[Face]:
        """Return the faces of an H×W×3 uint8 RGB picture in `order`; an empty list when there is none.

        A detection in which the mesh network sees no face is left out. When the plain look finds no face, the picture
        is searched for ones that fill the frame, are turned, dark or small; with `thorough` it is searched in any case.
        """
        meshes: list[Mesh] = []

        def accept(picture: Image, detection: Detection) -> Face | None:
            mesh = self._mesh(picture, detection)
            if mesh is None or any(overlap(mesh.box, other.box[None])[0] > _SAME_MESH for other in meshes):
                return None
            meshes.append(mesh)
            return self._describe(picture, detection, mesh, attributes)

        return order_faces(self._search.find(image, accept, min_score=min_score, thorough=thorough), order)

    def embed(self, image: Image, points: FloatArray) -> FloatArray:
        """Describe the face with 5×2 points (as `Face.landmarks`) of an H×W×3 uint8 picture, as `Face.embedding`."""
        return self._embedder.embed(align(image, points))

    def analyse_again(self, image: Image, face: Face) -> Face | None:
        """Describe the face of a changed picture at the place where `face` was; None when no face is there any more.

        Attributes are left out.
        """
        x, y, width, height = face.detection.box
        margin = max(width, height)
        left, top = max(0, int(x - margin)), max(0, int(y - margin))
        part = image[top : max(top + 1, int(y + height + margin)), left : max(left + 1, int(x + width + margin))]
        corner = np.array([left, top])
        middle = face.detection.box[:2] + face.detection.box[2:] / 2 - corner

        def accept(picture: Image, found: Detection) -> Face | None:
            away = abs(found.box[:2] + found.box[2:] / 2 - middle)
            mesh = self._mesh(picture, found) if bool((away < found.box[2:] / 2).all()) else None
            return None if mesh is None else self._describe(picture, found, mesh, attributes=False)

        again = self._search.find(part, accept, min_score=_AGAIN_MIN_SCORE, thorough=False)
        return _moved(again[0], corner) if again else None

    def _mesh(self, image: Image, detection: Detection) -> Mesh | None:
        crop = crop_of_box(detection.box, detection.key_points[0], detection.key_points[1])
        mesh = self._mesher.fit(image, crop)
        least = _PRESENCE if detection.score >= _SURE_SCORE else _UNSURE_PRESENCE
        return mesh if mesh.presence >= least else None

    def _describe(self, image: Image, detection: Detection, mesh: Mesh, attributes: bool) -> Face:
        points = five_points(mesh)
        aligned = align(image, points)
        crop = crop_of_box(detection.box, detection.key_points[0], detection.key_points[1], _ATTRIBUTE_MARGIN)
        return Face(
            detection=detection,
            mesh=mesh,
            placement=place_face(mesh.points, self.canonical.points),
            landmarks=points,
            embedding=self._embedder.embed(aligned),
            sharpness=sharpness(aligned),
            attributes=self._attributes.estimate(image, crop) if attributes else None,
        )


def _moved(face: Face, corner: FloatArray) -> Face:
    """The face of a part of a picture in the coordinates of the picture; `corner` (x, y) is the part's."""
    detection = face.detection
    return replace(
        face,
        detection=Detection(
            np.concatenate([detection.box[:2] + corner, detection.box[2:]]),
            detection.key_points + corner,
            detection.score,
        ),
        mesh=Mesh(face.mesh.points + np.append(corner, 0), face.mesh.presence),
        placement=replace(face.placement, shift=face.placement.shift + np.append(corner, 0)),
        landmarks=face.landmarks + corner,
    )
