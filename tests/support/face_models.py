"""A face models' service without networks: it keeps what it is told in memory."""

from __future__ import annotations

from typing import Any

from likeness.errors import FaceModelNotFound, LikenessError
from likeness.faceswap.v1 import face_model_service_pb2 as pb2
from likeness.faceswap.v1 import face_model_service_pb2_grpc as face_model_grpc
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap


class FakeFaceModels(face_model_grpc.FaceModelServiceServicer):
    """Takes the first photo of each build and rejects the others."""

    def __init__(self) -> None:
        """Start without a model."""
        self.models: dict[str, pb2.FaceModel] = {}
        self.builds: list[pb2.BuildFaceModelRequest] = []
        self.error: LikenessError | None = None

    def keep(self, name: str, *engines: str) -> pb2.FaceModel:
        """Keep a model of that name."""
        model = pb2.FaceModel(
            face_model_id=name,
            average=pb2.FACE_MODEL_AVERAGE_MEAN,
            photo_count=1,
            agreement=1,
            views=[pb2.FaceModelView(pose=faceswap.HeadPose(yaw=4), width_pixels=120, sharpness=90, similarity=1)],
            engines=engines or ("mesh",),
            sha256="0" * 64,
            size_bytes=1234,
        )
        model.create_time.FromSeconds(1_790_000_000)
        self.models[name] = model
        return model

    async def BuildFaceModel(self, request: pb2.BuildFaceModelRequest, context: Any) -> pb2.BuildFaceModelResponse:
        """Keep a model of that name."""
        self.builds.append(request)
        if self.error is not None:
            raise self.error
        photos = [
            pb2.FaceModelPhoto(
                image_index=index,
                used=index == 0,
                rejection=pb2.PHOTO_REJECTION_OUTLIER if index else pb2.PHOTO_REJECTION_UNSPECIFIED,
                detail="cosine 0.05 to the other photos" if index else "",
                similarity=0.05 if index else 1,
            )
            for index in range(len(request.images))
        ]
        return pb2.BuildFaceModelResponse(face_model=self.keep(request.face_model_id), photos=photos)

    async def ListFaceModels(self, request: pb2.ListFaceModelsRequest, context: Any) -> pb2.ListFaceModelsResponse:
        """List by name."""
        names = [name for name in sorted(self.models) if name > request.page_token]
        size = request.page_size or 100
        return pb2.ListFaceModelsResponse(
            face_models=[self.models[name] for name in names[:size]],
            next_page_token=names[size - 1] if len(names) > size else "",
        )

    async def GetFaceModel(self, request: pb2.GetFaceModelRequest, context: Any) -> pb2.GetFaceModelResponse:
        """Describe."""
        return pb2.GetFaceModelResponse(face_model=self._named(request.face_model_id))

    async def DeleteFaceModel(self, request: pb2.DeleteFaceModelRequest, context: Any) -> pb2.DeleteFaceModelResponse:
        """Remove."""
        del self.models[self._named(request.face_model_id).face_model_id]
        return pb2.DeleteFaceModelResponse()

    def _named(self, name: str) -> pb2.FaceModel:
        if name not in self.models:
            raise FaceModelNotFound(f"there is no face model '{name}'", field="face_model_id")
        return self.models[name]
