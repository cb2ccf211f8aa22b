"""The faceswap service: what is loaded, and what is then served."""

from __future__ import annotations

import cv2
import grpc.aio

from core.runtime.artifacts import ArtifactStore
from core.runtime.server import ServiceSpec
from core.runtime.worker import DeviceWorker
from likeness.faceswap.v1 import (
    face_model_service_pb2,
    face_model_service_pb2_grpc,
    faceswap_service_pb2,
    faceswap_service_pb2_grpc,
)
from services.faceswap.content_check import ClassifierCheck, ContentCheck
from services.faceswap.face_model_servicer import FaceModelServicer
from services.faceswap.servicer import FaceSwapServicer
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper

SERVICE_NAMES = (
    faceswap_service_pb2.DESCRIPTOR.services_by_name["FaceSwapService"].full_name,
    face_model_service_pb2.DESCRIPTOR.services_by_name["FaceModelService"].full_name,
)


def make_spec(settings: FaceSwapSettings) -> ServiceSpec[FaceSwapper]:
    """Make the service of ``settings``; nothing is loaded yet."""
    worker = DeviceWorker(settings.service, capacity=settings.queue_capacity)
    artifacts = ArtifactStore(settings.artifacts_url)

    def load() -> FaceSwapper:
        cv2.setNumThreads(settings.threads)
        return FaceSwapper.load(
            settings.weights_dir,
            threads=settings.threads,
            default_engine=settings.engine,
            content_check=_content_check(settings),
            profile=settings.swap_profile,
            models_dir=settings.models_folder,
            device=settings.device,
        )

    def register(server: grpc.aio.Server, swapper: FaceSwapper) -> None:
        servicer = FaceSwapServicer(swapper, worker, artifacts, settings.swap_profile.name)
        faceswap_service_pb2_grpc.add_FaceSwapServiceServicer_to_server(servicer, server)
        models = FaceModelServicer(swapper, worker, artifacts)
        face_model_service_pb2_grpc.add_FaceModelServiceServicer_to_server(models, server)

    return ServiceSpec(name=settings.service, service_names=SERVICE_NAMES, load=load, register=register, worker=worker)


def _content_check(settings: FaceSwapSettings) -> ContentCheck | None:
    """Return the check that the settings name. Raises ContentCheckError."""
    if settings.content_check_model is None:
        return None
    labels = [label.strip() for label in settings.content_check_labels.split(",") if label.strip()]
    return ClassifierCheck(
        settings.content_check_model, labels, settings.content_check_threshold, threads=settings.threads
    )
