"""Face models in the artifact store: a safetensors file of the arrays, and a manifest under the model's name.

The file is written before the manifest that names it, and removed after it, so a model is there in full or not at all.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.faces import CanonicalFace, Detection, Face, FaceAttributes, Gender, Mesh
from core.faces.arrays import FloatArray
from core.faces.landmarks import POINTS
from core.faces.pose import place_face
from core.runtime.artifacts import ArtifactStore
from likeness.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    Conflict,
    FaceModelIncompatible,
    FaceModelNotFound,
)
from services.faceswap.face_models import Average, FaceModel
from services.faceswap.references import Reference, View

_FORMAT = 1
_FILES = "face-models/files"
_MANIFESTS = "face-models/manifests"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_GENDERS = (Gender.FEMALE, Gender.MALE)


@dataclass(frozen=True)
class ViewEntry:
    """A view as the manifest describes it."""

    image_index: int
    yaw: float
    pitch: float
    roll: float
    width_pixels: int
    sharpness: float
    similarity: float


@dataclass(frozen=True)
class Manifest:
    """A kept face model without its arrays."""

    face_model_id: str
    created_at: float
    """Seconds since 1970, UTC."""
    average: Average
    photo_count: int
    agreement: float
    views: tuple[ViewEntry, ...]
    engines: tuple[str, ...]
    """Engines that can use it."""
    networks: str
    """Revision of the face networks that made it."""
    uri: str
    """Its file in the artifact store."""
    size_bytes: int

    @property
    def sha256(self) -> str:
        """SHA-256 of its file."""
        return self.uri.rpartition("/")[2].partition(".")[0]

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        return json.dumps({"format": _FORMAT, **asdict(self), "average": self.average.value}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a stored manifest. Raises ArtifactCorrupt."""
        try:
            values: dict[str, Any] = json.loads(data)
            if values.pop("format") != _FORMAT:
                raise ValueError("another format")
            values["average"] = Average(values["average"])
            values["views"] = tuple(ViewEntry(**view) for view in values["views"])
            values["engines"] = tuple(values["engines"])
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactCorrupt("the face model's manifest cannot be read; build the model again") from error


class FaceModelStore:
    """The face models of a deployment. All methods block; they are safe in any thread."""

    def __init__(self, artifacts: ArtifactStore, networks: str, canonical: CanonicalFace) -> None:
        """Keep models in `artifacts`; `networks` is the revision of the face networks that are in use."""
        self._artifacts = artifacts
        self._networks = networks
        self._canonical = canonical

    def check_free(self, face_model_id: str) -> None:
        """Raise Conflict when there is a model of that name."""
        if self._find(face_model_id) is not None:
            raise _taken(face_model_id)

    def put(self, face_model_id: str, model: FaceModel, engines: tuple[str, ...], *, replace: bool) -> Manifest:
        """Keep a model. Raises Conflict when there is one of that name and `replace` is false."""
        before = self._find(face_model_id)
        # The name is part of the bytes: no two models share a file that one of them may take away.
        data = save(_tensors(model), metadata={"face_model_id": face_model_id, "format": str(_FORMAT)})
        uri = self._artifacts.put(_FILES, data, ".safetensors")
        manifest = Manifest(
            face_model_id=face_model_id,
            created_at=time.time(),
            average=model.average,
            photo_count=model.photo_count,
            agreement=model.agreement,
            views=tuple(
                ViewEntry(
                    image_index=item.image_index,
                    yaw=item.view.face.pose.yaw,
                    pitch=item.view.face.pose.pitch,
                    roll=item.view.face.pose.roll,
                    width_pixels=round(item.view.face.width),
                    sharpness=item.view.face.sharpness,
                    similarity=item.similarity,
                )
                for item in model.views
            ),
            engines=engines,
            networks=self._networks,
            uri=uri,
            size_bytes=len(data),
        )
        try:
            self._artifacts.put_record(_key(face_model_id), manifest.to_json(), replace=replace)
        except Conflict:
            if before is None or before.uri != uri:
                self._artifacts.delete(uri)
            raise _taken(face_model_id) from None
        if before is not None and before.uri != uri:
            self._artifacts.delete(before.uri)
        return manifest

    def get(self, face_model_id: str, *, field: str = "face_model_id") -> Manifest:
        """Return a model's manifest. Raises FaceModelNotFound, ArtifactCorrupt."""
        found = self._find(face_model_id)
        if found is None:
            raise FaceModelNotFound(
                f"there is no face model '{face_model_id}'; build it, or list those there are", field=field
            )
        return found

    def list(self, page_size: int, after: str) -> tuple[tuple[Manifest, ...], str]:
        """Return the manifests whose names come after `after`, by name, and the last name when there are more."""
        names = [key.rpartition("/")[2].removesuffix(".json") for key in self._artifacts.list_records(_MANIFESTS)]
        later = [name for name in sorted(names) if name > after]
        page = later[:page_size]
        manifests = (self._find(name) for name in page)
        # One that is deleted meanwhile is left out.
        return tuple(item for item in manifests if item is not None), page[-1] if len(later) > page_size else ""

    def delete(self, face_model_id: str) -> None:
        """Remove a model. Raises FaceModelNotFound."""
        manifest = self.get(face_model_id)
        self._artifacts.delete_record(_key(face_model_id))
        self._artifacts.delete(manifest.uri)

    def reference(self, face_model_id: str, engine: str, *, field: str) -> Reference:
        """Return a model as whom to put in. Raises FaceModelNotFound, FaceModelIncompatible, ArtifactCorrupt."""
        manifest = self.get(face_model_id, field=field)
        if engine not in manifest.engines:
            raise FaceModelIncompatible(
                f"the face model '{face_model_id}' has views for {', '.join(manifest.engines)}, none for the engine "
                f"'{engine}': build it again from photos that look into the camera, or name another engine",
                field=field,
                engines=",".join(manifest.engines),
            )
        if manifest.networks != self._networks:
            raise FaceModelIncompatible(
                f"the face model '{face_model_id}' was built by face networks of revision {manifest.networks}, these "
                f"are {self._networks}: build it again",
                field=field,
            )
        try:
            tensors = load(self._artifacts.get(manifest.uri, field=field))
            views = tuple(_view(tensors, number, self._canonical) for number in range(len(manifest.views)))
            embedding = tensors["embedding"].astype(np.float64)
        except ArtifactNotFound:
            raise FaceModelNotFound(f"the face model '{face_model_id}' has just been replaced", field=field) from None
        except (SafetensorError, KeyError, ValueError, IndexError) as error:
            raise ArtifactCorrupt(
                f"the file of the face model '{face_model_id}' cannot be read; build it again", field=field
            ) from error
        return Reference(views, embedding, face_model_id=face_model_id, field=field)

    def _find(self, face_model_id: str) -> Manifest | None:
        if not _ID.fullmatch(face_model_id):
            return None
        try:
            return Manifest.from_json(self._artifacts.get_record(_key(face_model_id)))
        except ArtifactNotFound:
            return None


def _key(face_model_id: str) -> str:
    return f"{_MANIFESTS}/{face_model_id}.json"


def _taken(face_model_id: str) -> Conflict:
    return Conflict(
        f"there is a face model '{face_model_id}' already: take another name, delete it, or set replace",
        field="face_model_id",
    )


def _tensors(model: FaceModel) -> dict[str, Any]:
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


def _view(tensors: Mapping[str, Any], number: int, canonical: CanonicalFace) -> View:
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
