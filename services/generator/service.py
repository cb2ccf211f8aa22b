"""The generator as a service: what is loaded, and what is then served."""

from __future__ import annotations

import grpc.aio

from core.runtime.artifacts import ArtifactStore
from core.runtime.server import ServiceSpec
from core.runtime.worker import DeviceWorker
from likeness.generator.v1 import (
    generator_service_pb2,
    generator_service_pb2_grpc,
    lora_service_pb2,
    lora_service_pb2_grpc,
)
from services.generator.engine import GeneratorEngine
from services.generator.lora_servicer import LoraServicer
from services.generator.servicer import GeneratorServicer
from services.generator.settings import GeneratorSettings

SERVICE_NAMES = (
    generator_service_pb2.DESCRIPTOR.services_by_name["GeneratorService"].full_name,
    lora_service_pb2.DESCRIPTOR.services_by_name["LoraService"].full_name,
)


def make_spec(settings: GeneratorSettings) -> ServiceSpec[GeneratorEngine]:
    """Make the service of ``settings``; nothing is loaded yet."""
    worker = DeviceWorker(settings.service, capacity=settings.queue_capacity)
    artifacts = ArtifactStore(settings.artifacts_url)

    def register(server: grpc.aio.Server, engine: GeneratorEngine) -> None:
        generator_service_pb2_grpc.add_GeneratorServiceServicer_to_server(GeneratorServicer(engine, artifacts), server)
        lora_service_pb2_grpc.add_LoraServiceServicer_to_server(LoraServicer(engine.loras), server)

    return ServiceSpec(
        name=settings.service,
        service_names=SERVICE_NAMES,
        load=lambda: GeneratorEngine.load(settings, worker, artifacts),
        register=register,
        worker=worker,
    )
