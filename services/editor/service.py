"""The editor as a service: what is loaded, and what is then served."""

from __future__ import annotations

import grpc.aio

from core.runtime.artifacts import ArtifactStore
from core.runtime.server import ServiceSpec
from core.runtime.worker import DeviceWorker
from likeness.editor.v1 import editor_service_pb2, editor_service_pb2_grpc
from services.editor.engine import EditorEngine
from services.editor.servicer import EditorServicer
from services.editor.settings import EditorSettings

SERVICE_NAMES = (editor_service_pb2.DESCRIPTOR.services_by_name["EditorService"].full_name,)


def make_spec(settings: EditorSettings) -> ServiceSpec[EditorEngine]:
    """Make the service of ``settings``; nothing is loaded yet."""
    worker = DeviceWorker(settings.service, capacity=settings.queue_capacity)
    artifacts = ArtifactStore(settings.artifacts_url)

    def register(server: grpc.aio.Server, engine: EditorEngine) -> None:
        editor_service_pb2_grpc.add_EditorServiceServicer_to_server(EditorServicer(engine, artifacts), server)

    return ServiceSpec(
        name=settings.service,
        service_names=SERVICE_NAMES,
        load=lambda: EditorEngine.load(settings, worker, artifacts),
        register=register,
        worker=worker,
    )
