"""The faceswap service's protocol: messages in, calls to the swapper, messages out."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

import grpc.aio

from core.faces import identity_score
from core.runtime.artifacts import ArtifactStore
from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.images import EncodedImage, RgbArray, encode_output, read_image_input, to_image_message
from core.runtime.work import Emit, Work
from core.runtime.worker import DeviceWorker
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1 import faceswap_service_pb2_grpc
from services.faceswap.swapper import REFERENCE, TARGET, FaceSwapper, SwapChoices, SwapOutcome
from services.faceswap.translation import face_message, order_of, swapped_message

Context = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")

_MIN_SCORE = 0.5
_MAX_DECODING = 2
"""Requests whose pictures are decoded at a time."""


class FaceSwapServicer(faceswap_service_pb2_grpc.FaceSwapServiceServicer):
    """``likeness.faceswap.v1.FaceSwapService`` over a swapper."""

    def __init__(self, swapper: FaceSwapper, worker: DeviceWorker, artifacts: ArtifactStore, profile: str) -> None:
        """Swap with ``swapper`` on the thread of ``worker``; pictures may come from and go to ``artifacts``."""
        self._swapper = swapper
        self._worker = worker
        self._artifacts = artifacts
        self._profile = profile
        self._decoding = asyncio.Semaphore(_MAX_DECODING)

    async def DetectFaces(self, request: pb2.DetectFacesRequest, context: Context) -> pb2.DetectFacesResponse:
        """Find the faces of a picture. Raises ImageError."""
        (image,) = await self._read((request.image, "image"))

        def work(token: CancelToken, emit: Emit) -> pb2.DetectFacesResponse:
            faces = self._swapper.analyser.analyse(image, min_score=_min_score(request), order=order_of(request.order))
            messages = [face_message(face, index) for index, face in enumerate(faces)]
            return pb2.DetectFacesResponse(faces=messages, width=image.shape[1], height=image.shape[0])

        response, _ = await self._call(work, context, "detect")
        return response

    async def Swap(self, request: pb2.SwapRequest, context: Context) -> pb2.SwapResponse:
        """Put the reference's face onto the target. Raises ImageError, FaceError, UnknownEngine."""
        started = time.monotonic()
        # Refused before the pictures are decoded.
        self._swapper.engine(request.engine)
        choices = SwapChoices(
            target_face_indexes=tuple(request.target_face_indexes),
            reference_face_index=request.reference_face_index if request.HasField("reference_face_index") else None,
            target_order=order_of(request.target_order),
            engine=request.engine,
            min_score=_min_score(request),
        )

        reference, target = await self._read((request.reference_image, REFERENCE), (request.target_image, TARGET))
        decode_seconds = time.monotonic() - started

        def work(token: CancelToken, emit: Emit) -> SwapOutcome:
            return self._swapper.swap(target, reference, choices, token)

        outcome, queued_seconds = await self._call(work, context, "swap")
        before_encode = time.monotonic()
        # In a thread of its own: the device goes on with the next call.
        image = await asyncio.to_thread(self._write, outcome, request.output)
        encode_seconds = time.monotonic() - before_encode
        return pb2.SwapResponse(
            image=image,
            swapped=[swapped_message(swapped) for swapped in outcome.swapped],
            target_faces=[face_message(face, index) for index, face in enumerate(outcome.target_faces)],
            reference_face=face_message(outcome.reference_face, outcome.reference_face_index),
            engine=outcome.engine,
            restoration=self._restoration(request),
            warnings=outcome.warnings,
            timings=pb2.SwapTimings(
                queue_milliseconds=queued_seconds * 1e3,
                decode_milliseconds=decode_seconds * 1e3,
                analyse_milliseconds=outcome.seconds.analyse * 1e3,
                swap_milliseconds=outcome.seconds.swap * 1e3,
                score_milliseconds=outcome.seconds.score * 1e3,
                encode_milliseconds=encode_seconds * 1e3,
                total_milliseconds=(time.monotonic() - started) * 1e3,
            ),
        )

    async def CompareFaces(self, request: pb2.CompareFacesRequest, context: Context) -> pb2.CompareFacesResponse:
        """Tell how alike the largest faces of two pictures are. Raises ImageError, NoFace."""
        pictures = await self._read((request.first_image, "first_image"), (request.second_image, "second_image"))

        def work(token: CancelToken, emit: Emit) -> pb2.CompareFacesResponse:
            first = self._swapper.faces(pictures[0], "first_image")[0]
            token.check()
            second = self._swapper.faces(pictures[1], "second_image")[0]
            return pb2.CompareFacesResponse(
                identity=identity_score(first.embedding, second.embedding),
                first_face=face_message(first, 0),
                second_face=face_message(second, 0),
            )

        response, _ = await self._call(work, context, "compare")
        return response

    async def GetCapabilities(
        self, request: pb2.GetCapabilitiesRequest, context: Context
    ) -> pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        limits = self._swapper.engine("").limits
        return pb2.GetCapabilitiesResponse(
            model=progress_pb2.ModelInfo(
                name="likeness/faces",
                revision=self._swapper.revision,
                profile=self._profile,
                precision="float32",
                device="cpu",
            ),
            engines=self._swapper.engine_names,
            max_pose_degrees=limits.max_pose_degrees,
            min_reference_face_pixels=limits.min_reference_face_pixels,
            min_target_face_pixels=limits.min_target_face_pixels,
            queue_capacity=self._worker.capacity,
            max_reference_turn_degrees=limits.max_reference_turn_degrees,
        )

    async def _call(self, work: Work[T], context: Context, kind: str) -> tuple[T, float]:
        token = CancelToken.for_call(context)
        return await self._worker.call(work, token=token, tenant=current_metadata().tenant_id, kind=kind)

    async def _read(self, *images: tuple[image_pb2.ImageInput, str]) -> list[RgbArray]:
        """Decode pictures, each with its field, before the work waits for its turn: a damaged one is told at once.

        Few are decoded at a time, and none without room in the queue, so what waits decoded is bounded by its capacity.
        """
        async with self._decoding:
            self._worker.check_room()
            return [await asyncio.to_thread(read_image_input, image, self._artifacts, field) for image, field in images]

    def _write(self, outcome: SwapOutcome, output: image_pb2.ImageOutput) -> image_pb2.Image:
        encoded: EncodedImage = encode_output(outcome.image, output)
        return to_image_message(encoded, output, self._artifacts)

    def _restoration(self, request: pb2.SwapRequest) -> pb2.Restoration:
        if request.HasField("restore_face") and not request.restore_face:
            return pb2.Restoration(applied=False, reason="restore_face is false")
        return pb2.Restoration(applied=False, reason=f"the profile '{self._profile}' has no restorer")


def _min_score(request: pb2.DetectFacesRequest | pb2.SwapRequest) -> float:
    return request.min_score if request.HasField("min_score") else _MIN_SCORE
