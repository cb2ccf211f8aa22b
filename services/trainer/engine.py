"""What the trainer's process is made of, and what runs beside its calls."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from core.runtime.artifacts import ArtifactStore
from core.runtime.fetch import SafeFetcher
from core.runtime.telemetry import log
from core.runtime.worker import DeviceWorker
from services.trainer.attempt_store import AttemptStore
from services.trainer.cleanup import JobRemover
from services.trainer.database import Database
from services.trainer.delivery_store import DeliveryStore
from services.trainer.dry_run import FaceInspection, Inspect
from services.trainer.forget_store import ForgetStore
from services.trainer.forgetting import Forgetter
from services.trainer.job_store import JobStore
from services.trainer.kubernetes_api import Credentials, JobsApi
from services.trainer.kubernetes_launcher import KubernetesLauncher, read_template
from services.trainer.launcher import Launcher
from services.trainer.lora_removal import LoraRemoval
from services.trainer.photos import PhotoIntake
from services.trainer.process_launcher import ProcessLauncher
from services.trainer.publication import CheckpointPublisher
from services.trainer.retention import Retention
from services.trainer.settings import TrainerSettings
from services.trainer.supervisor import RunSupervisor
from services.trainer.webhook_sender import WebhookSender

_FAULT_PAUSE_SECONDS = 1.0

_logger = logging.getLogger("likeness.trainer")


@dataclass(frozen=True)
class TrainerEngine:
    """The parts that the servicer works with."""

    settings: TrainerSettings
    jobs: JobStore
    intake: PhotoIntake
    artifacts: ArtifactStore
    remover: JobRemover
    deletions: ForgetStore
    loras: LoraRemoval
    checkpoints: CheckpointPublisher
    inspect: Inspect
    webhooks: SafeFetcher
    """Calls webhooks, under the operator's rules."""
    photos: SafeFetcher
    """Fetches photos, under the operator's rules for them."""
    database: Database
    supervisor: RunSupervisor
    sender: WebhookSender
    launcher: Launcher

    @classmethod
    def load(cls, settings: TrainerSettings, launcher: Launcher | None, inspect: Inspect | None) -> TrainerEngine:
        """Open the database and the artifact store.

        Args:
            settings: the process's.
            launcher: starts runs; the settings' own when None.
            inspect: checks photos for dry runs; by the face networks when None.

        Raises:
            DatabaseError, TemplateError, KubernetesError: a setting can't be used.
        """
        database = settings.open_database()
        database.create_tables()
        rules = settings.change_rules()
        artifacts = ArtifactStore(settings.artifacts_url)
        jobs = JobStore(database, rules, capacity=settings.queue_capacity)
        remover = JobRemover(database, jobs, artifacts, settings.work_dir)
        attempts = AttemptStore(database, rules, settings.lease_rules())
        deletions, loras = ForgetStore(database), LoraRemoval(settings.generator_address)
        started_by = launcher or make_launcher(settings)
        webhooks, photos = SafeFetcher(settings.webhook_policy()), SafeFetcher(settings.photo_policy())
        return cls(
            settings=settings,
            jobs=jobs,
            intake=PhotoIntake(artifacts, photos, fetch_timeout_seconds=settings.fetch_timeout_seconds),
            artifacts=artifacts,
            remover=remover,
            deletions=deletions,
            loras=loras,
            checkpoints=CheckpointPublisher(
                database,
                rules,
                jobs,
                deletions,
                work_dir=settings.work_dir,
                generator_address=settings.generator_address,
            ),
            inspect=inspect or FaceInspection(settings.weights_dir / "faces", settings.threads),
            webhooks=webhooks,
            photos=photos,
            database=database,
            supervisor=RunSupervisor(
                attempts,
                started_by,
                Forgetter(deletions, jobs, attempts, started_by, remover, loras),
                Retention(jobs, deletions, remover, loras, settings),
                settings,
            ),
            sender=WebhookSender(DeliveryStore(database), webhooks, secret=settings.webhook_secret),
            launcher=started_by,
        )


def make_launcher(settings: TrainerSettings) -> Launcher:
    """Return the launcher of the settings. Raises TemplateError, KubernetesError."""
    if settings.launcher == "process":
        return ProcessLauncher()
    assert settings.kubernetes_job_template is not None
    credentials = Credentials(settings.kubernetes_credentials_dir)
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    url = settings.kubernetes_api_url or f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return KubernetesLauncher(
        JobsApi(url, settings.kubernetes_namespace or credentials.namespace(), credentials),
        read_template(settings.kubernetes_job_template),
        queue=settings.kubernetes_queue,
        max_seconds=settings.kubernetes_max_seconds,
    )


class TrainerWorker(DeviceWorker):
    """The worker of dry runs, and of what runs beside all calls: supervision and webhooks."""

    def __init__(self, name: str, *, capacity: int) -> None:
        """Make the worker of the process ``name``; `begin` starts what runs beside."""
        super().__init__(name, capacity=capacity)
        self.leaving = asyncio.Event()
        """Set when the process stops: whoever watches a job must come back elsewhere."""
        self._engine: TrainerEngine | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, engine: TrainerEngine) -> None:
        """Supervise runs and send webhooks until `drain`; called in the event loop."""
        self._engine = engine

        async def look() -> bool:
            await asyncio.to_thread(engine.supervisor.look)
            return False

        async def send() -> bool:
            return await engine.sender.send_due() > 0

        self._tasks = [asyncio.create_task(self._repeat(work)) for work in (look, send)]

    async def drain(self, timeout: float | None = None) -> bool:
        """Stop what runs beside, tell runs of this process to save and stop, then drain as every worker does."""
        self.leaving.set()
        for task in self._tasks:
            await task
        self._tasks = []
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.launcher.close, 30.0 if timeout is None else timeout)
            await engine.webhooks.aclose()
            await engine.photos.aclose()
        return await super().drain(timeout)

    async def _repeat(self, work: Callable[[], Awaitable[bool]]) -> None:
        """Do ``work`` again and again: at once when it says that there is more, else after a pause."""
        assert self._engine is not None
        pause = self._engine.settings.poll_seconds
        while not self.leaving.is_set():
            seconds: float = pause
            try:
                if await work():
                    seconds = 0.0
            except Exception as error:
                log(_logger, logging.ERROR, "the trainer could not look after its jobs", exc_info=error)
                seconds = max(pause, _FAULT_PAUSE_SECONDS)
            await wait_for(self.leaving, seconds)


async def wait_for(event: asyncio.Event, seconds: float) -> Any:
    """Return when an event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
