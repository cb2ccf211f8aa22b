"""Whether a reference picture can give its face, found out before anything is drawn."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from gateway.deadline import Deadline
from gateway.errors import in_rest_names
from gateway.swap_translation import detect_request
from likeness._convert import GENDERS
from likeness.client import AsyncClient
from likeness.common.v1 import image_pb2
from likeness.errors import (
    FaceIndexOutOfRange,
    FaceModelIncompatible,
    FaceTooSmall,
    FaceTurnedTooFar,
    LikenessError,
    NoFace,
    NoMatchingFace,
    SeveralFaces,
    UnknownEngine,
)
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.metadata import CallMetadata
from likeness.results import Face, Faces, Gender

FIELD = "reference_image"
LIMITS_LIFETIME_SECONDS = 60.0


@dataclass(frozen=True)
class ReferenceLimits:
    """What the deployment's default engine asks of a reference."""

    min_face_pixels: int
    """Smallest width of the face."""
    max_turn_degrees: float
    """How far it may look past the camera, turn and nod together; 0 for no limit."""
    engines: tuple[str, ...] = ()
    """The engines that there are, the default first."""


NO_LIMITS = ReferenceLimits(0, 0.0)
"""For an engine that is not the default: its own limits show when it swaps."""


@dataclass(frozen=True)
class ReferencePicture:
    """A picture that a swap takes faces from."""

    image: image_pb2.ImageInput
    field: str
    """Path of the picture in the body."""
    index_field: str
    """Path of what says which face."""
    indexes: tuple[int, ...]
    """The faces to use, counted in the order of the answer; when empty the picture has to hold exactly one."""
    gender: Gender | None
    """Only faces that look like this count; None for all."""


def choose_reference_faces(faces: Faces, picture: ReferencePicture, limits: ReferenceLimits) -> list[Face]:
    """Return the faces to use.

    Raises NoFace, NoMatchingFace, SeveralFaces, FaceIndexOutOfRange, FaceTooSmall or FaceTurnedTooFar, each for the
    picture's field or its index's.
    """
    if not faces.faces:
        raise NoFace("the reference shows no face; give a picture of one person, from the front", field=picture.field)
    left = [face for face in faces.faces if picture.gender in (None, face.gender)]
    found = len(left)
    if not left:
        looks = ", ".join(f"{face.gender} ({face.gender_score:.2f})" for face in faces.faces[:8])
        raise NoMatchingFace(
            f"no face of the reference looks {picture.gender}; found: {looks}; genders are estimates from looks: leave "
            "the gender out and name the face by its index",
            field=picture.field,
            faces=str(len(faces.faces)),
        )
    if not picture.indexes and found > 1:
        raise SeveralFaces(
            f"the reference shows {found} faces; crop it to one, or say which by {picture.index_field}",
            field=picture.field,
            faces=str(found),
        )
    chosen = []
    for index in picture.indexes or (0,):
        if index >= found:
            raise FaceIndexOutOfRange(
                f"the reference shows {found} face{'s' if found > 1 else ''}, counted from 0; there is no face {index}",
                field=picture.index_field,
                faces=str(found),
            )
        check_reference_face(left[index], picture.field, limits)
        chosen.append(left[index])
    return chosen


def check_reference_face(face: Face, field: str, limits: ReferenceLimits) -> None:
    """Raise FaceTooSmall or FaceTurnedTooFar for a face that the engine does not take."""
    if face.box.width < limits.min_face_pixels:
        raise FaceTooSmall(
            f"the reference's face is {face.box.width:.0f} pixels wide; it must be at least {limits.min_face_pixels}",
            field=field,
            face_pixels=f"{face.box.width:.0f}",
            min_face_pixels=str(limits.min_face_pixels),
        )
    turn = turn_degrees(face)
    if limits.max_turn_degrees and turn > limits.max_turn_degrees:
        raise FaceTurnedTooFar(
            f"the reference's head is turned {turn:.0f}° from the camera (yaw {face.yaw:.0f}°, pitch "
            f"{face.pitch:.0f}°); at most {limits.max_turn_degrees:.0f}° will do, since the hidden side cannot be "
            "shown: use a picture that looks more into the camera",
            field=field,
            turn_degrees=f"{turn:.0f}",
            max_degrees=f"{limits.max_turn_degrees:.0f}",
        )


def turn_degrees(face: Face) -> float:
    """Return the angle between where the face looks and the camera, whatever its roll."""
    cosine = math.cos(math.radians(face.yaw)) * math.cos(math.radians(face.pitch))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def reference_pictures(swap: faceswap.SwapRequest) -> list[ReferencePicture]:
    """Return the pictures that a swap takes faces from."""
    gender = GENDERS.get(swap.reference_gender)
    pictures = []
    if swap.HasField("reference_image"):
        several = tuple(swap.reference_face_indexes)
        one = (swap.reference_face_index,) if swap.HasField("reference_face_index") else ()
        index_field = "reference_face_indexes" if several else "reference_face_index"
        pictures.append(ReferencePicture(swap.reference_image, FIELD, index_field, several or one, gender))
    for number, item in enumerate(swap.references):
        if item.HasField("image"):
            path = f"references[{number}]"
            indexes = (item.face_index,) if item.HasField("face_index") else ()
            pictures.append(ReferencePicture(item.image, f"{path}.image", f"{path}.face_index", indexes, gender))
    return pictures


def face_models_of(swap: faceswap.SwapRequest) -> list[tuple[str, str]]:
    """Return the names of the face models that a swap uses, each with its field."""
    models = [(swap.face_model_id, "face_model_id")] if swap.face_model_id else []
    models += [
        (item.face_model_id, f"references[{number}].face_model_id")
        for number, item in enumerate(swap.references)
        if item.face_model_id
    ]
    return models


class ReferenceCheck:
    """Checks references against the limits of the faceswap service, which it asks for once a minute at most."""

    def __init__(self, lifetime_seconds: float = LIMITS_LIFETIME_SECONDS) -> None:
        """Keep the limits for ``lifetime_seconds``."""
        self._lifetime_seconds = lifetime_seconds
        self._limits: ReferenceLimits | None = None
        self._read_at = 0.0

    async def __call__(
        self,
        client: AsyncClient,
        metadata: CallMetadata,
        deadline: Deadline,
        swap: faceswap.SwapRequest,
    ) -> list[Face]:
        """Return the faces that ``swap``, whose target is still to be drawn, will use; none for its face models.

        Raises UnknownEngine, FaceModelNotFound, FaceModelIncompatible, what `choose_reference_faces` does, and the
        service's own errors.
        """
        faces: list[Face] = []
        try:
            limits = await self._current(client, metadata, deadline)
            if swap.engine and swap.engine not in limits.engines:
                names = ", ".join(limits.engines)
                raise UnknownEngine(
                    f"this deployment has no engine '{swap.engine}'; it has: {names}", field="engine", engines=names
                )
        except LikenessError as error:
            raise in_rest_names(error) from error
        default = next(iter(limits.engines), "")
        engine = swap.engine or default
        applied = limits if engine == default else NO_LIMITS
        for picture in reference_pictures(swap):
            request = detect_request(picture.image, swap)
            try:
                found = await client.send_detect_faces(request, deadline.options(metadata))
            except LikenessError as error:
                raise in_rest_names(error, {"image": picture.field}) from error
            faces += choose_reference_faces(found, picture, applied)
        for face_model_id, field in face_models_of(swap):
            try:
                model = await client.get_face_model(face_model_id, options=deadline.options(metadata))
            except LikenessError as error:
                raise in_rest_names(error, {"face_model_id": field}) from error
            if engine not in model.engines:
                raise FaceModelIncompatible(
                    f"the face model '{face_model_id}' has views for {', '.join(model.engines)}, none for the engine "
                    f"'{engine}': build it again from photos that look into the camera, or name another engine",
                    field=field,
                    engines=",".join(model.engines),
                )
        return faces

    async def _current(self, client: AsyncClient, metadata: CallMetadata, deadline: Deadline) -> ReferenceLimits:
        if self._limits is None or time.monotonic() - self._read_at > self._lifetime_seconds:
            answer = await client.faceswap_capabilities(deadline.options(metadata))
            self._limits = ReferenceLimits(
                answer.min_reference_face_pixels, answer.max_reference_turn_degrees, answer.engines
            )
            self._read_at = time.monotonic()
        return self._limits
