"""Removing jobs with all that they left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from core.runtime.artifacts import ArtifactStore
from services.trainer.job_store import JobStore
from services.trainer.photos import job_prefix
from services.trainer.records import JobRecord


class JobRemover:
    """Removes ended jobs. All methods block, and may be repeated after a failure."""

    def __init__(self, jobs: JobStore, artifacts: ArtifactStore, work_dir: Path) -> None:
        """Remove from the database, the artifact store and the runs' folders."""
        self._jobs = jobs
        self._artifacts = artifacts
        self._work_dir = work_dir

    def remove(self, record: JobRecord) -> None:
        """Remove a job: photos and samples, crops, caches and checkpoints, then its row, so that nothing is orphaned.

        Its LoRA stays in the registry.

        Raises:
            Conflict: it has not ended.
        """
        if not record.ended:
            # The row's own check decides; this one only saves the files of a job that runs.
            self._jobs.delete(record)
            return
        for uri in self._artifacts.list(job_prefix(record.uid)):
            self._artifacts.delete(uri)
        folder = self._work_dir / record.uid
        if folder.exists():
            shutil.rmtree(folder)
        self._jobs.delete(record)

    def remove_uploads(self, uris: Iterable[str]) -> None:
        """Remove photos that no job has taken."""
        for uri in uris:
            self._artifacts.delete(uri)
