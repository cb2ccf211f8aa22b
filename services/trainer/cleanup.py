"""Removing jobs with all that they left behind."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from core.runtime.artifacts import ArtifactStore
from core.runtime.telemetry import log
from likeness.errors import Conflict
from services.trainer.database import Database
from services.trainer.job_store import JobStore
from services.trainer.photos import JOBS_PREFIX, UPLOADS_PREFIX, job_prefix
from services.trainer.records import JobRecord
from services.trainer.run_folder import held_folder

_UID = re.compile(r"[0-9a-f]{32}")

_logger = logging.getLogger("likeness.trainer")


class JobRemover:
    """Removes ended jobs. All methods block, and may be repeated after a failure."""

    def __init__(self, database: Database, jobs: JobStore, artifacts: ArtifactStore, work_dir: Path) -> None:
        """Remove from the database, the artifact store and the runs' folders."""
        self._database = database
        self._jobs = jobs
        self._artifacts = artifacts
        self._work_dir = work_dir

    def remove(self, record: JobRecord) -> None:
        """Remove a job: photos and samples, crops, caches and checkpoints, then its row, so that nothing is orphaned.

        Its LoRA stays in the registry.

        Raises:
            Conflict: it has not ended, or its run has not let go of its folder yet.
        """
        if not record.ended:
            # The row's own check decides; this one only saves the files of a job that runs.
            self._jobs.delete(record)
            return
        self._remove_files(record.uid)
        self._jobs.delete(record)
        self._database.scrub()

    def remove_orphans(self, before: float) -> int:
        """Remove what belongs to no job and was last changed before a moment, seconds of the epoch.

        A process that is killed while it takes in photos, or while it removes a job, leaves such files. What can't be
        removed is logged, and stays until the next time. Returns of how many jobs and uploads something was removed.
        """
        moment = datetime.fromtimestamp(before, UTC)
        keys = self._artifacts.list_records(JOBS_PREFIX, modified_before=moment)
        uids = {parts[2] for key in keys if len(parts := key.split("/")) > 3 and _UID.fullmatch(parts[2])}
        folders = self._work_dir.glob("*") if self._work_dir.is_dir() else ()
        uids |= {path.name for path in folders if _UID.fullmatch(path.name) and _is_older(path, before)}
        removed = 0
        for uid in sorted(uids - self._jobs.known(uids)):
            try:
                self._remove_files(uid)
                removed += 1
            except Conflict:
                continue
            except SQLAlchemyError:
                raise
            except Exception as error:
                log(_logger, logging.ERROR, "files of no job could not be removed", exc_info=error, uid=uid)
        # No job takes an upload that is this old, so whatever is left there was not noted.
        for key in self._artifacts.list_records(UPLOADS_PREFIX, modified_before=moment):
            removed += self._artifacts.delete_record(key)
        return removed

    def remove_uploads(self, uris: Iterable[str]) -> None:
        """Remove photos that were uploaded."""
        for uri in uris:
            self._artifacts.delete(uri)

    def _remove_files(self, uid: str) -> None:
        folder = self._work_dir / uid
        # A run that is about to end would write into it after it was removed.
        with held_folder(folder):
            for key in self._artifacts.list_records(job_prefix(uid)):
                self._artifacts.delete_record(key)
            # Others may remove it at the same time: whose files are gone already has less to do.
            while folder.exists():
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder)


def _is_older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:  # a dry run's folder went meanwhile
        return False
