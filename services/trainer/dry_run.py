"""What a job would be: its photos checked as a run checks them, its steps, time and cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from core.training.spec import DatasetReport, Photo, TrainingSpec
from likeness.errors import DatasetUnusable
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.job_store import JobStore
from services.trainer.plan import dataset_messages
from services.trainer.settings import TrainerSettings


class Inspect(Protocol):
    """Checks photos without training."""

    def __call__(self, pictures: Sequence[Photo], spec: TrainingSpec) -> DatasetReport:
        """Return what would become of each."""


class FaceInspection:
    """`core.training.dataset.inspect_dataset` with face networks that are loaded once, when first needed."""

    def __init__(self, faces_dir: Path, threads: int) -> None:
        """Load them from ``faces_dir``; for one thread."""
        self._faces_dir = faces_dir
        self._threads = threads
        self._analyser: object | None = None

    def __call__(self, pictures: Sequence[Photo], spec: TrainingSpec) -> DatasetReport:
        """Return what would become of each."""
        from core.faces import FaceAnalyser
        from core.training.dataset import inspect_dataset

        if self._analyser is None:
            self._analyser = FaceAnalyser(self._faces_dir, self._threads)
        assert isinstance(self._analyser, FaceAnalyser)
        return inspect_dataset(pictures, spec, self._analyser)


def forecast(
    report: DatasetReport, spec: TrainingSpec, jobs: JobStore, settings: TrainerSettings
) -> pb2.DryRunTrainingResponse:
    """Return the answer of a dry run. The time is that of the last jobs that went well here, a step."""
    answer = pb2.DryRunTrainingResponse(
        dataset=dataset_messages(report),
        trainable=report.usable,
        total_steps=spec.settings.hyperparameters.steps,
        warnings=report.warnings,
        currency=settings.currency,
    )
    if report.problems:
        answer.error.reason = DatasetUnusable.reason
        answer.error.message = "; ".join(report.problems)
        answer.error.field = "photos"
    seconds_per_step = jobs.recent_seconds_per_step()
    if seconds_per_step is not None:
        seconds = seconds_per_step * answer.total_steps
        answer.duration.FromMilliseconds(round(seconds * 1000))
        if settings.hourly_price is not None:
            answer.cost = settings.hourly_price * seconds / 3600
    return answer
