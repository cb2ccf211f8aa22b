"""The face models' protocol: messages in, calls to the store and the builder, messages out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio

from core.faces.arrays import Image
from core.runtime.artifacts import ArtifactStore
from core.runtime.calls import current_metadata
from core.runtime.cancellation import CancelToken
from core.runtime.images import read_image_input
from core.runtime.work import Emit
from core.runtime.worker import DeviceWorker
from likeness.common.v1 import image_pb2
from likeness.errors import PhotosUnusable
from likeness.faceswap.v1 import face_model_service_pb2 as pb2
from likeness.faceswap.v1 import face_model_service_pb2_grpc
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from services.faceswap.face_model_store import FaceModelStore, Manifest
from services.faceswap.face_models import FIELD, Average, FaceModel, Photo, Rejection, build_face_model, takes
from services.faceswap.swapper import FaceSwapper
from services.faceswap.translation import MIN_SCORE, face_message

Context = grpc.aio.ServicerContext[Any, Any]

_PAGE_SIZE = 100
_AVERAGES = {
    pb2.FACE_MODEL_AVERAGE_UNSPECIFIED: Average.MEAN,
    pb2.FACE_MODEL_AVERAGE_MEAN: Average.MEAN,
    pb2.FACE_MODEL_AVERAGE_MEDIAN: Average.MEDIAN,
}
_AVERAGE_MESSAGES = {
    Average.MEAN: pb2.FACE_MODEL_AVERAGE_MEAN,
    Average.MEDIAN: pb2.FACE_MODEL_AVERAGE_MEDIAN,
}
_REJECTIONS = {
    None: pb2.PHOTO_REJECTION_UNSPECIFIED,
    Rejection.NO_FACE: pb2.PHOTO_REJECTION_NO_FACE,
    Rejection.SEVERAL_FACES: pb2.PHOTO_REJECTION_SEVERAL_FACES,
    Rejection.TOO_SMALL: pb2.PHOTO_REJECTION_TOO_SMALL,
    Rejection.BLURRED: pb2.PHOTO_REJECTION_BLURRED,
    Rejection.OUTLIER: pb2.PHOTO_REJECTION_OUTLIER,
    Rejection.TURNED_TOO_FAR: pb2.PHOTO_REJECTION_TURNED_TOO_FAR,
}


class FaceModelServicer(face_model_service_pb2_grpc.FaceModelServiceServicer):
    """``likeness.faceswap.v1.FaceModelService`` over a swapper's analyser and the artifact store."""

    def __init__(
        self,
        swapper: FaceSwapper,
        worker: DeviceWorker,
        artifacts: ArtifactStore,
    ) -> None:
        """Build on the thread of ``worker`` and keep in ``artifacts``."""
        self._swapper = swapper
        self._worker = worker
        self._artifacts = artifacts
        self._store = FaceModelStore(artifacts, swapper.revision, swapper.analyser.canonical)

    async def BuildFaceModel(self, request: pb2.BuildFaceModelRequest, context: Context) -> pb2.BuildFaceModelResponse:
        """Build and keep a model. Raises ImageError, PhotosUnusable, Conflict, ContentRefused."""
        if not request.replace:
            await asyncio.to_thread(self._store.check_free, request.face_model_id)
        min_score = request.min_score if request.HasField("min_score") else MIN_SCORE

        def work(token: CancelToken, emit: Emit) -> tuple[FaceModel, tuple[Photo, ...]]:
            photos = [self._photo(image, number, token) for number, image in enumerate(request.images)]
            return build_face_model(
                self._swapper.analyser, photos, average=_AVERAGES[request.average], min_score=min_score
            )

        token = CancelToken.for_call(context)
        tenant = current_metadata().tenant_id
        (model, photos), _ = await self._worker.call(work, token=token, tenant=tenant, kind="build_face_model")
        manifest = await asyncio.to_thread(
            self._store.put, request.face_model_id, model, self._suited(model), replace=request.replace
        )
        return pb2.BuildFaceModelResponse(
            face_model=_model_message(manifest), photos=[_photo_message(photo) for photo in photos]
        )

    async def ListFaceModels(self, request: pb2.ListFaceModelsRequest, context: Context) -> pb2.ListFaceModelsResponse:
        """List models by their names. Raises ArtifactCorrupt."""
        size = request.page_size or _PAGE_SIZE
        manifests, last = await asyncio.to_thread(self._store.list, size, request.page_token)
        return pb2.ListFaceModelsResponse(
            face_models=[_model_message(manifest) for manifest in manifests], next_page_token=last
        )

    async def GetFaceModel(self, request: pb2.GetFaceModelRequest, context: Context) -> pb2.GetFaceModelResponse:
        """Describe a model. Raises FaceModelNotFound, ArtifactCorrupt."""
        manifest = await asyncio.to_thread(self._store.get, request.face_model_id)
        return pb2.GetFaceModelResponse(face_model=_model_message(manifest))

    async def DeleteFaceModel(
        self, request: pb2.DeleteFaceModelRequest, context: Context
    ) -> pb2.DeleteFaceModelResponse:
        """Remove a model. Raises FaceModelNotFound."""
        await asyncio.to_thread(self._store.delete, request.face_model_id)
        return pb2.DeleteFaceModelResponse()

    def _suited(self, model: FaceModel) -> tuple[str, ...]:
        """Return the engines that take at least one view. Raises PhotosUnusable when none does."""
        engines = [self._swapper.engine(name) for name in self._swapper.engines.names]
        suited = tuple(engine.name for engine in engines if any(takes(engine, view) for view in model.views))
        if not suited:
            raise PhotosUnusable(
                f"no engine of this deployment takes a view of these photos: {engines[0].name} needs a face of at "
                f"least {engines[0].limits.min_reference_face_pixels} pixels, turned at most "
                f"{engines[0].limits.max_reference_turn_degrees:.0f}° from the camera; add a photo that looks into it",
                field=FIELD,
            )
        return suited

    def _photo(self, message: image_pb2.ImageInput, number: int, token: CancelToken) -> Callable[[], Image]:
        """Return what reads a photo: one is decoded at a time, since twenty would not fit into memory."""
        field = f"images[{number}]"

        def read() -> Image:
            token.check()
            image = read_image_input(message, self._artifacts, field)
            if self._swapper.content_check is not None:
                self._swapper.content_check.check(image, field)
            return image

        return read


def _model_message(manifest: Manifest) -> pb2.FaceModel:
    message = pb2.FaceModel(
        face_model_id=manifest.face_model_id,
        average=_AVERAGE_MESSAGES[manifest.average],
        photo_count=manifest.photo_count,
        agreement=manifest.agreement,
        views=[
            pb2.FaceModelView(
                image_index=view.image_index,
                pose=faceswap.HeadPose(yaw=view.yaw, pitch=view.pitch, roll=view.roll),
                width_pixels=view.width_pixels,
                sharpness=view.sharpness,
                similarity=view.similarity,
            )
            for view in manifest.views
        ],
        engines=manifest.engines,
        sha256=manifest.sha256,
        size_bytes=manifest.size_bytes,
    )
    message.create_time.FromMilliseconds(round(manifest.created_at * 1000))
    return message


def _photo_message(photo: Photo) -> pb2.FaceModelPhoto:
    return pb2.FaceModelPhoto(
        image_index=photo.index,
        used=photo.rejection is None,
        rejection=_REJECTIONS[photo.rejection],
        detail=photo.detail,
        face=None if photo.face is None else face_message(photo.face, 0),
        similarity=photo.similarity,
    )
