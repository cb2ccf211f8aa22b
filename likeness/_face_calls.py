"""The calls of the faceswap service and of its face models."""

from __future__ import annotations

from typing import Any

import grpc.aio

from likeness.calls import UnaryCall
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import face_model_service_pb2_grpc as model_grpc
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1 import faceswap_service_pb2_grpc as faceswap_grpc

_SERVICE = "faceswap"


class FaceCalls:
    """``likeness.faceswap.v1``'s ``FaceSwapService`` and ``FaceModelService`` over a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call over ``channel``."""
        stub: Any = faceswap_grpc.FaceSwapServiceStub(channel)
        kept: Any = model_grpc.FaceModelServiceStub(channel)
        self.detect = UnaryCall[pb2.DetectFacesRequest, pb2.DetectFacesResponse](stub.DetectFaces, _SERVICE)
        self.swap = UnaryCall[pb2.SwapRequest, pb2.SwapResponse](stub.Swap, _SERVICE)
        self.compare = UnaryCall[pb2.CompareFacesRequest, pb2.CompareFacesResponse](stub.CompareFaces, _SERVICE)
        self.capabilities = UnaryCall[pb2.GetCapabilitiesRequest, pb2.GetCapabilitiesResponse](
            stub.GetCapabilities, _SERVICE
        )
        self.build_model = UnaryCall[models.BuildFaceModelRequest, models.BuildFaceModelResponse](
            kept.BuildFaceModel, _SERVICE
        )
        self.list_models = UnaryCall[models.ListFaceModelsRequest, models.ListFaceModelsResponse](
            kept.ListFaceModels, _SERVICE
        )
        self.get_model = UnaryCall[models.GetFaceModelRequest, models.GetFaceModelResponse](kept.GetFaceModel, _SERVICE)
        self.delete_model = UnaryCall[models.DeleteFaceModelRequest, models.DeleteFaceModelResponse](
            kept.DeleteFaceModel, _SERVICE
        )
