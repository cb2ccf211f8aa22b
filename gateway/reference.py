"""Whether a reference picture can give its face, found out before anything is drawn."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from gateway.deadline import Deadline
from gateway.errors import in_rest_names
from likeness.client import AsyncClient
from likeness.errors import (
    FaceIndexOutOfRange,
    FaceTooSmall,
    FaceTurnedTooFar,
    LikenessError,
    NoFace,
    SeveralFaces,
    UnknownEngine,
)
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.metadata import CallMetadata
from likeness.results import Face, Faces

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
    """The engines that there are."""


def choose_reference_face(faces: Faces, index: int | None, limits: ReferenceLimits) -> Face:
    """Return the face to use; ``index`` counts from large to small.

    Raises NoFace, SeveralFaces, FaceIndexOutOfRange, FaceTooSmall or FaceTurnedTooFar, each for reference_image
    (or reference_face_index).
    """
    found = len(faces.faces)
    if not found:
        raise NoFace("the reference shows no face; give a picture of one person, from the front", field=FIELD)
    if index is None and found > 1:
        raise SeveralFaces(
            f"the reference shows {found} faces; crop it to one, or say which by reference_face_index",
            field=FIELD,
            faces=str(found),
        )
    if index is not None and not 0 <= index < found:
        raise FaceIndexOutOfRange(
            f"the reference shows {found} face{'s' if found > 1 else ''}, counted from 0; there is no face {index}",
            field="reference_face_index",
            faces=str(found),
        )
    face = faces.faces[index or 0]
    if face.box.width < limits.min_face_pixels:
        raise FaceTooSmall(
            f"the reference's face is {face.box.width:.0f} pixels wide; it must be at least {limits.min_face_pixels}",
            field=FIELD,
            face_pixels=f"{face.box.width:.0f}",
            min_face_pixels=str(limits.min_face_pixels),
        )
    turn = turn_degrees(face)
    if limits.max_turn_degrees and turn > limits.max_turn_degrees:
        raise FaceTurnedTooFar(
            f"the reference's head is turned {turn:.0f}° from the camera (yaw {face.yaw:.0f}°, pitch "
            f"{face.pitch:.0f}°); at most {limits.max_turn_degrees:.0f}° will do, since the hidden side cannot be "
            "shown: use a picture that looks more into the camera",
            field=FIELD,
            turn_degrees=f"{turn:.0f}",
            max_degrees=f"{limits.max_turn_degrees:.0f}",
        )
    return face


def turn_degrees(face: Face) -> float:
    """Return the angle between where the face looks and the camera, whatever its roll."""
    cosine = math.cos(math.radians(face.yaw)) * math.cos(math.radians(face.pitch))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


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
        request: faceswap.DetectFacesRequest,
        swap: faceswap.SwapRequest,
    ) -> Face:
        """Return the face that ``swap``, whose target is still to be drawn, will use.

        Raises UnknownEngine, what `choose_reference_face` does, and the service's own errors.
        """
        index = swap.reference_face_index if swap.HasField("reference_face_index") else None
        try:
            limits = await self._current(client, metadata, deadline)
            if swap.engine and swap.engine not in limits.engines:
                names = ", ".join(limits.engines)
                raise UnknownEngine(
                    f"this deployment has no engine '{swap.engine}'; it has: {names}", field="engine", engines=names
                )
            faces = await client.send_detect_faces(request, deadline.options(metadata))
        except LikenessError as error:
            raise in_rest_names(error, {"image": FIELD}) from error
        return choose_reference_face(faces, index, limits)

    async def _current(self, client: AsyncClient, metadata: CallMetadata, deadline: Deadline) -> ReferenceLimits:
        if self._limits is None or time.monotonic() - self._read_at > self._lifetime_seconds:
            answer = await client.faceswap_capabilities(deadline.options(metadata))
            self._limits = ReferenceLimits(
                answer.min_reference_face_pixels, answer.max_reference_turn_degrees, answer.engines
            )
            self._read_at = time.monotonic()
        return self._limits
