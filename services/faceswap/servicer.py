"""The faceswap service's protocol: messages in, calls to the swapper, messages out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import grpc.aio

from core.faces import Face, identity_score
from core.runtime.artifacts import ArtifactStore
from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.images import (
    DecodedImage,
    RgbArray,
    encode_like,
    read_picture_input,
    to_image_message,
    write_image_output,
)
from core.runtime.work import Emit, Work
from core.runtime.worker import DeviceWorker
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1 import faceswap_service_pb2_grpc
from services.faceswap.drawing import draw_faces
from services.faceswap.face_model_store import FaceModelStore
from services.faceswap.outcome import SwapOutcome
from services.faceswap.references import Reference, ReferencePicture
from services.faceswap.swapper import MATCH, REFERENCE, TARGET, FaceSwapper
from services.faceswap.translation import (
    MIN_SCORE,
    face_message,
    order_of,
    reference_message,
    restoration_message,
    skipped_message,
    swap_choices,
    swapped_message,
)

Context = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")

_MAX_DECODING = 2
"""Requests whose pictures are decoded at a time."""


class FaceSwapServicer(faceswap_service_pb2_grpc.FaceSwapServiceServicer):
    """``likeness.faceswap.v1.FaceSwapService`` over a swapper."""

    def __init__(
        self,
        swapper: FaceSwapper,
        worker: DeviceWorker,
        artifacts: ArtifactStore,
        profile: str,
    ) -> None:
        """Swap with ``swapper`` on the thread of ``worker``; pictures may come from and go to ``artifacts``."""
        self._swapper = swapper
        self._worker = worker
        self._artifacts = artifacts
        self._profile = profile
        self._models = FaceModelStore(artifacts, swapper.revision, swapper.analyser.canonical)
        self._decoding = asyncio.Semaphore(_MAX_DECODING)

    async def DetectFaces(self, request: pb2.DetectFacesRequest, context: Context) -> pb2.DetectFacesResponse:
        """Find the faces of a picture. Raises ImageError."""
        (picture,) = await self._read((request.image, "image"))
        image = picture.rgb

        def work(token: CancelToken, emit: Emit) -> list[Face]:
            return self._swapper.analyser.analyse(
                image, min_score=_min_score(request), order=order_of(request.order), thorough=request.thorough
            )

        faces, _ = await self._call(work, context, "detect")
        response = pb2.DetectFacesResponse(
            faces=[face_message(face, index) for index, face in enumerate(faces)],
            width=image.shape[1],
            height=image.shape[0],
        )
        if request.HasField("drawing"):
            drawn = await asyncio.to_thread(
                lambda: write_image_output(draw_faces(image, faces), request.drawing, self._artifacts)
            )
            response.drawing.CopyFrom(drawn)
        return response

    async def Swap(self, request: pb2.SwapRequest, context: Context) -> pb2.SwapResponse:
        """Put the references' faces onto the target.

        Raises ImageError, FaceError, UnknownEngine, FaceModelNotFound, ContentRefused.
        """
        started = time.monotonic()
        # Refused before the pictures are decoded.
        choices = swap_choices(request)
        engine = self._swapper.engine(choices.engine, choices.pixel_boost).name
        self._swapper.restorers.choose(choices.restoration)
        named = _pictures(request)
        pictures = dict(zip(named, await self._read(*((image, field) for field, image in named.items())), strict=True))
        images = {field: picture.rgb for field, picture in pictures.items()}
        sources = await asyncio.to_thread(self._sources, request, images, engine)
        decode_seconds = time.monotonic() - started

        def work(token: CancelToken, emit: Emit) -> SwapOutcome:
            for field, image in images.items():
                self._check_content(image, field, token)
            outcome = self._swapper.swap(images[TARGET], sources, choices, token, images.get(MATCH))
            self._check_content(outcome.image, None, token)
            return outcome

        outcome, queued_seconds = await self._call(work, context, "swap")
        before_encode = time.monotonic()
        # In a thread of its own: the device goes on with the next call.
        image, lost = await asyncio.to_thread(self._write_like, pictures[TARGET], outcome.image, request.output)
        encode_seconds = time.monotonic() - before_encode
        return pb2.SwapResponse(
            image=image,
            swapped=[swapped_message(swapped) for swapped in outcome.swapped],
            target_faces=[face_message(face, index) for index, face in enumerate(outcome.target_faces)],
            reference_face=_first_used(outcome),
            engine=outcome.engine,
            restoration=restoration_message(outcome, choices.restoration, self._profile),
            warnings=[*outcome.warnings, *lost],
            skipped=[skipped_message(skipped) for skipped in outcome.skipped],
            references=[reference_message(reference) for reference in outcome.references],
            timings=pb2.SwapTimings(
                queue_milliseconds=queued_seconds * 1e3,
                decode_milliseconds=decode_seconds * 1e3,
                analyse_milliseconds=outcome.seconds.analyse * 1e3,
                swap_milliseconds=outcome.seconds.swap * 1e3,
                restore_milliseconds=outcome.seconds.restore * 1e3,
                score_milliseconds=outcome.seconds.score * 1e3,
                encode_milliseconds=encode_seconds * 1e3,
                total_milliseconds=(time.monotonic() - started) * 1e3,
            ),
        )

    async def CompareFaces(self, request: pb2.CompareFacesRequest, context: Context) -> pb2.CompareFacesResponse:
        """Tell how alike two faces are. Raises ImageError, NoFace, FaceIndexOutOfRange."""
        pictures = await self._read((request.first_image, "first_image"), (request.second_image, "second_image"))

        def work(token: CancelToken, emit: Emit) -> pb2.CompareFacesResponse:
            found = []
            indexes = (request.first_face_index, request.second_face_index)
            for picture, name, index in zip(pictures, ("first", "second"), indexes, strict=True):
                token.check()
                found.append(
                    self._swapper.face_at(
                        picture.rgb,
                        f"{name}_image",
                        index=index,
                        index_field=f"{name}_face_index",
                        order=order_of(request.order),
                        min_score=_min_score(request),
                    )
                )
            (first_index, first), (second_index, second) = found
            return pb2.CompareFacesResponse(
                identity=identity_score(first.embedding, second.embedding),
                first_face=face_message(first, first_index),
                second_face=face_message(second, second_index),
            )

        response, _ = await self._call(work, context, "compare")
        return response

    async def GetCapabilities(
        self, request: pb2.GetCapabilitiesRequest, context: Context
    ) -> pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        limits = self._swapper.engine("").limits
        neural = self._swapper.engines.neural
        return pb2.GetCapabilitiesResponse(
            model=progress_pb2.ModelInfo(
                name="likeness/faces",
                revision=self._swapper.models_revision,
                profile=self._profile,
                precision="float32",
                device=self._swapper.device,
            ),
            engines=self._swapper.engines.names,
            restorers=self._swapper.restorers.names,
            execution_provider=self._swapper.engines.execution_provider,
            face_sizes=() if neural is None else neural.face_sizes,
            max_pose_degrees=limits.max_pose_degrees,
            min_reference_face_pixels=limits.min_reference_face_pixels,
            min_target_face_pixels=limits.min_target_face_pixels,
            queue_capacity=self._worker.capacity,
            max_reference_turn_degrees=limits.max_reference_turn_degrees,
            content_check=self._swapper.content_check is not None,
        )

    async def _call(self, work: Work[T], context: Context, kind: str) -> tuple[T, float]:
        token = CancelToken.for_call(context)
        return await self._worker.call(work, token=token, tenant=current_metadata().tenant_id, kind=kind)

    async def _read(self, *images: tuple[image_pb2.ImageInput, str]) -> list[DecodedImage]:
        """Decode pictures, each with its field, before the work waits for its turn: a damaged one is told at once.

        Few are decoded at a time, and none without room in the queue, so what waits decoded is bounded by its capacity.
        """
        async with self._decoding:
            self._worker.check_room()
            return [
                await asyncio.to_thread(read_picture_input, image, self._artifacts, field) for image, field in images
            ]

    def _sources(
        self, request: pb2.SwapRequest, images: Mapping[str, RgbArray], engine: str
    ) -> list[ReferencePicture | Reference]:
        """Return whom a request names. Blocking: face models are read from the store."""
        if request.face_model_id:
            return [self._models.reference(request.face_model_id, engine, field="face_model_id")]
        if request.HasField("reference_image"):
            indexes = tuple(request.reference_face_indexes)
            index_field = "reference_face_indexes" if indexes else "reference_face_index"
            if request.HasField("reference_face_index"):
                indexes = (request.reference_face_index,)
            return [ReferencePicture(images[REFERENCE], REFERENCE, index_field, indexes)]
        sources: list[ReferencePicture | Reference] = []
        for number, item in enumerate(request.references):
            path = f"references[{number}]"
            if item.WhichOneof("source") == "face_model_id":
                sources.append(self._models.reference(item.face_model_id, engine, field=f"{path}.face_model_id"))
            else:
                indexes = (item.face_index,) if item.HasField("face_index") else ()
                field = f"{path}.image"
                sources.append(ReferencePicture(images[field], field, f"{path}.face_index", indexes))
        return sources

    def _check_content(self, image: RgbArray, field: str | None, token: CancelToken) -> None:
        if self._swapper.content_check is not None:
            token.check()
            self._swapper.content_check.check(image, field)

    def _write_like(
        self, source: DecodedImage, image: RgbArray, output: image_pb2.ImageOutput
    ) -> tuple[image_pb2.Image, tuple[str, ...]]:
        """Write the changed target with its transparency and colour profile; the second is what could not be kept."""
        encoded, lost = encode_like(source, image, output)
        return to_image_message(encoded, output, self._artifacts), lost


def _min_score(request: pb2.DetectFacesRequest | pb2.CompareFacesRequest) -> float:
    return request.min_score if request.HasField("min_score") else MIN_SCORE


def _pictures(request: pb2.SwapRequest) -> dict[str, image_pb2.ImageInput]:
    """Return the pictures of a request by their paths, the references first."""
    pictures: dict[str, image_pb2.ImageInput] = {}
    if request.HasField("reference_image"):
        pictures[REFERENCE] = request.reference_image
    for number, item in enumerate(request.references):
        if item.HasField("image"):
            pictures[f"references[{number}].image"] = item.image
    pictures[TARGET] = request.target_image
    if request.HasField("match_image"):
        pictures[MATCH] = request.match_image
    return pictures


def _first_used(outcome: SwapOutcome) -> pb2.Face:
    reference = outcome.references[min(swapped.reference_index for swapped in outcome.swapped)]
    return face_message(reference.face, reference.index)
