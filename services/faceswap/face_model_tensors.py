"""A face model as arrays: what stands in its safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.faces import CanonicalFace, Detection, Face, FaceAttributes, Gender, Mesh
from core.faces.arrays import FloatArray
from core.faces.landmarks import POINTS
from core.faces.pose import place_face
from services.faceswap.face_models import FaceModel
from services.faceswap.references import View

_GENDERS = (Gender.FEMALE, Gender.MALE)


def to_tensors(model: FaceModel) -> dict[str, Any]:
    """Return the arrays of a model by the names that they have in its file."""
    tensors: dict[str, Any] = {"embedding": model.embedding}
    for number, item in enumerate(model.views):
        face = item.view.face
        looks = face.attributes
        values = {
            "image": item.view.image,
            "mesh": face.mesh.points,
            "box": face.detection.box,
            "key_points": face.detection.key_points,
            "landmarks": face.landmarks,
            "embedding": face.embedding,
            "scores": np.array([face.detection.score, face.mesh.presence, face.sharpness]),
            "attributes": np.array(
                [] if looks is None else [_GENDERS.index(looks.gender), looks.gender_score, looks.age_years]
            ),
        }
        tensors |= {f"view.{number}.{name}": np.ascontiguousarray(value) for name, value in values.items()}
    return tensors


def view_of(tensors: Mapping[str, Any], number: int, canonical: CanonicalFace) -> View:
    """Read a view from the arrays of a file. Raises KeyError, ValueError and IndexError for what is none."""

    def numbers(name: str, *shape: int) -> FloatArray:
        array = tensors[f"view.{number}.{name}"]
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name} has the shape {array.shape}")
        return np.asarray(array, dtype=np.float64)

    image = tensors[f"view.{number}.image"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError("a view is no picture")
    score, presence, sharpness = (float(value) for value in numbers("scores", 3))
    looks = None
    if tensors[f"view.{number}.attributes"].size:
        gender, gender_score, age = (float(value) for value in numbers("attributes", 3))
        looks = FaceAttributes(_GENDERS[int(gender)], gender_score, age)
    mesh = numbers("mesh", POINTS, 3)
    face = Face(
        detection=Detection(numbers("box", 4), numbers("key_points", 6, 2), score),
        mesh=Mesh(mesh, presence),
        placement=place_face(mesh, canonical.points),
        landmarks=numbers("landmarks", 5, 2),
        embedding=numbers("embedding", tensors["embedding"].size),
        sharpness=sharpness,
        attributes=looks,
    )
    return View(image, face)
