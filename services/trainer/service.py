"""The trainer as a service: what is loaded, and what is then served."""

from __future__ import annotations

import grpc.aio

from core.runtime.server import ServiceSpec
from likeness.trainer.v1 import trainer_service_pb2, trainer_service_pb2_grpc
from services.trainer.dry_run import Inspect
from services.trainer.engine import TrainerEngine, TrainerWorker
from services.trainer.launcher import Launcher
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings

SERVICE_NAMES = (trainer_service_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name,)


def make_spec(
    settings: TrainerSettings, *, launcher: Launcher | None = None, inspect: Inspect | None = None
) -> ServiceSpec[TrainerEngine]:
    """Make the service of ``settings``; nothing is opened yet.

    Args:
        settings: the process's.
        launcher: starts runs; the settings' own when None.
        inspect: checks photos for dry runs; by the face networks when None.
    """
    worker = TrainerWorker(settings.service, capacity=settings.queue_capacity)

    def register(server: grpc.aio.Server, engine: TrainerEngine) -> None:
        servicer = TrainerServicer(engine, worker)
        trainer_service_pb2_grpc.add_TrainerServiceServicer_to_server(servicer, server)
        worker.begin(engine)

    return ServiceSpec(
        name=settings.service,
        service_names=SERVICE_NAMES,
        load=lambda: TrainerEngine.load(settings, launcher, inspect),
        register=register,
        worker=worker,
    )
