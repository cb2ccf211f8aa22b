"""Face models in the artifact store: a safetensors file of the arrays, and a manifest under the model's name.

The file is written before the manifest that names it, and removed after it, so a model is there in full or not at all.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.faces import CanonicalFace
from core.runtime.artifacts import ArtifactStore
from likeness.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    Conflict,
    FaceModelIncompatible,
    FaceModelNotFound,
)
from services.faceswap.face_model_tensors import to_tensors, view_of
from services.faceswap.face_models import Average, FaceModel
from services.faceswap.references import Reference

logger = logging.getLogger(__name__)

_FORMAT = 1
_FILES = "face-models/files"
_MANIFESTS = "face-models/manifests"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


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
        """Read a stored manifest. Raises ValueError, KeyError and TypeError for one that is damaged."""
        values: dict[str, Any] = json.loads(data)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        values["average"] = Average(values["average"])
        values["views"] = tuple(ViewEntry(**view) for view in values["views"])
        values["engines"] = tuple(values["engines"])
        return cls(**values)


class FaceModelStore:
    """The face models of a deployment. All methods block; they are safe in any thread."""

    def __init__(self, artifacts: ArtifactStore, networks: str, canonical: CanonicalFace) -> None:
        """Keep models in `artifacts`; `networks` is the revision of the face networks that are in use."""
        self._artifacts = artifacts
        self._networks = networks
        self._canonical = canonical

    def check_free(self, face_model_id: str) -> None:
        """Raise Conflict when there is a model of that name."""
        if self._record(face_model_id) is not None:
            raise _taken(face_model_id)

    def put(self, face_model_id: str, model: FaceModel, engines: tuple[str, ...], *, replace: bool) -> Manifest:
        """Keep a model. Raises Conflict when there is one of that name and `replace` is false."""
        before = self._sound(face_model_id)
        # The name is part of the bytes: no two models share a file that one of them may take away.
        data = save(to_tensors(model), metadata={"face_model_id": face_model_id, "format": str(_FORMAT)})
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
        found = self._find(face_model_id, field)
        if found is None:
            raise _missing(face_model_id, field)
        return found

    def list(self, page_size: int, after: str) -> tuple[tuple[Manifest, ...], str]:
        """Return the manifests whose names come after `after`, by name, and the last name when there are more.

        A damaged one is logged and left out, and so is one that is deleted meanwhile.
        """
        names = [key.rpartition("/")[2].removesuffix(".json") for key in self._artifacts.list_records(_MANIFESTS)]
        later = [name for name in sorted(names) if name > after]
        page = later[:page_size]
        manifests = (self._sound(name) for name in page)
        return tuple(item for item in manifests if item is not None), page[-1] if len(later) > page_size else ""

    def delete(self, face_model_id: str) -> None:
        """Remove a model, a damaged one too. Raises FaceModelNotFound."""
        manifest = self._sound(face_model_id)
        if not _ID.fullmatch(face_model_id) or not self._artifacts.delete_record(_key(face_model_id)):
            raise _missing(face_model_id, "face_model_id")
        if manifest is not None:
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
            views = tuple(view_of(tensors, number, self._canonical) for number in range(len(manifest.views)))
            embedding = tensors["embedding"].astype(np.float64)
            if embedding.ndim != 1 or not np.isfinite(embedding).all():
                raise ValueError("the embedding is no description")
        except ArtifactNotFound:
            now = self.get(face_model_id, field=field)
            if now.uri != manifest.uri:
                # It was replaced between the two reads.
                return self.reference(face_model_id, engine, field=field)
            raise ArtifactCorrupt(
                f"the file of the face model '{face_model_id}' is gone; build it again", field=field
            ) from None
        except (SafetensorError, KeyError, ValueError, IndexError) as error:
            raise ArtifactCorrupt(
                f"the file of the face model '{face_model_id}' cannot be read; build it again", field=field
            ) from error
        return Reference(views, embedding, face_model_id=face_model_id, field=field)

    def _record(self, face_model_id: str) -> bytes | None:
        if not _ID.fullmatch(face_model_id):
            return None
        try:
            return self._artifacts.get_record(_key(face_model_id))
        except ArtifactNotFound:
            return None

    def _find(self, face_model_id: str, field: str) -> Manifest | None:
        record = self._record(face_model_id)
        try:
            return None if record is None else Manifest.from_json(record)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactCorrupt(
                f"the manifest of the face model '{face_model_id}' cannot be read; build it again with replace, or "
                "delete it",
                field=field,
            ) from error

    def _sound(self, face_model_id: str) -> Manifest | None:
        """Return a manifest, or None where there is none that can be read."""
        try:
            return self._find(face_model_id, "face_model_id")
        except ArtifactCorrupt as error:
            logger.warning("%s", error.message)
            return None


def _missing(face_model_id: str, field: str) -> FaceModelNotFound:
    return FaceModelNotFound(
        f"there is no face model '{face_model_id}'; build it, or list those there are", field=field
    )


def _key(face_model_id: str) -> str:
    return f"{_MANIFESTS}/{face_model_id}.json"


def _taken(face_model_id: str) -> Conflict:
    return Conflict(
        f"there is a face model '{face_model_id}' already: take another name, delete it, or set replace",
        field="face_model_id",
    )
