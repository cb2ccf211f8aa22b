"""Whom to put in: a person as one picture shows them, or as a face model does from several sides."""

from __future__ import annotations

from dataclasses import dataclass

from core.faces import Face, FaceAnalyser, FaceOrder, Gender
from core.faces.arrays import FloatArray, Image
from likeness.errors import FaceTooSmall, FaceTurnedTooFar
from services.faceswap.engines.base import SwapEngine
from services.faceswap.selection import FaceRules, apply_rules, only_face


@dataclass(frozen=True)
class View:
    """A person from one side."""

    image: Image
    """H×W×3 uint8 RGB: the whole picture, or the part of it that a face model keeps."""
    face: Face
    """The face in `image`."""


@dataclass(frozen=True)
class Reference:
    """A person to put in."""

    views: tuple[View, ...]
    """At least one, the most typical first."""
    embedding: FloatArray
    """Who it is, as `Face.embedding`: likeness is measured against it."""
    index: int = 0
    """Place of the face among those of its picture."""
    face_model_id: str = ""
    """Name of the face model; empty for a picture."""
    field: str = "reference_image"
    """Path in the request of what named it."""

    @property
    def face(self) -> Face:
        """The face of the most typical view."""
        return self.views[0].face


@dataclass(frozen=True)
class ReferencePicture:
    """A picture of which one or more faces are references."""

    image: Image
    """H×W×3 uint8 RGB."""
    field: str
    """Path of the picture in the request."""
    index_field: str
    """Path of what says which face."""
    indexes: tuple[int, ...] = ()
    """Which faces, in the order of `ReferenceRules`; when empty it has to hold exactly one."""


@dataclass(frozen=True)
class ReferenceRules:
    """Which faces of a reference picture count, and in which order."""

    min_score: float = 0.5
    gender: Gender | None = None
    order: FaceOrder = FaceOrder.LARGE_TO_SMALL


@dataclass(frozen=True)
class Choice:
    """The view of a reference that is put onto one face of the target."""

    reference: Reference
    view: View
    reference_index: int
    """Place of the reference in the request's list."""


def choose_faces(analyser: FaceAnalyser, picture: ReferencePicture, rules: ReferenceRules) -> list[Reference]:
    """Return the references that a picture gives.

    Raises NoFace, NoMatchingFace, SeveralFaces and FaceIndexOutOfRange.
    """
    faces = analyser.analyse(picture.image, min_score=rules.min_score, order=rules.order)
    remaining = apply_rules(faces, FaceRules(rules.min_score, rules.gender), field=picture.field, picture="reference")
    if picture.indexes:
        places = [remaining.at(index, field=picture.index_field, picture="reference") for index in picture.indexes]
    else:
        places = [only_face(remaining, field=picture.field, index_field=picture.index_field, picture="reference")]
    return [
        Reference((View(picture.image, faces[place]),), faces[place].embedding, place, field=picture.field)
        for place in places
    ]


def choose_view(reference: Reference, target: Face, engine: SwapEngine) -> View:
    """Return the view that the engine takes for this target and that is nearest in pose, mirrored or not.

    Raises FaceTooSmall or FaceTurnedTooFar of the nearest view when the engine takes none.
    """
    ordered = sorted(reference.views, key=lambda view: pose_distance(view.face, target))
    first: FaceTooSmall | FaceTurnedTooFar | None = None
    for view in ordered:
        try:
            engine.check(view.face, target)
        except (FaceTooSmall, FaceTurnedTooFar) as error:
            first = first or error
        else:
            return view
    assert first is not None
    if first.field == "reference_image":
        first.field = reference.field
    raise first


def pose_distance(reference: Face, target: Face) -> float:
    """Return how far two heads are turned from each other in degrees: yaw, mirrored where that is nearer, and pitch."""
    yaw = min(abs(sign * reference.pose.yaw - target.pose.yaw) for sign in (1, -1))
    return float(yaw + abs(reference.pose.pitch - target.pose.pitch))
