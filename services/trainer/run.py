"""One attempt at a job, as a process of its own: ``python -m services.trainer.run <uid> <attempt>``.

It reads the job from the database and its photos from the artifact store, and ends when its lease is lost.
"""

from __future__ import annotations

import argparse
import enum
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from core.runtime import telemetry
from core.runtime.artifacts import ArtifactStore, StoreUnavailable
from core.runtime.cancellation import CancelToken
from core.runtime.settings import SettingsError
from core.training.spec import Report, TrainingResult, TrainingSpec
from likeness.channel import ChannelOptions
from likeness.errors import Cancelled, InsufficientResources, Internal, LikenessError
from likeness.sync import Client
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.attempt_store import AttemptStore, LeaseLost
from services.trainer.launcher import SAVED_AND_STOPPED
from services.trainer.lease import LeaseKeeper
from services.trainer.plan import photo_file, training_spec
from services.trainer.publisher import LoraPublisher
from services.trainer.records import JobRecord
from services.trainer.reporter import RunReporter
from services.trainer.run_folder import LOCK_FILE
from services.trainer.settings import TrainerSettings

Train = Callable[[TrainingSpec, Path, Report, CancelToken], TrainingResult]
"""Trains in a folder, or goes on where its last checkpoint stands."""

FAILED, LOST = 1, 76
INTERRUPTED = "INTERRUPTED"
"""Reason of an attempt that was lost."""
_LOCK_PAUSE_SECONDS = 0.5

_logger = logging.getLogger("likeness.trainer")


class _Stop(enum.Enum):
    CANCEL = "the job was cancelled"
    LEAVE = "the process was told to stop"
    ALONE = "no trainer was there"


class Attempt:
    """One attempt at a job."""

    def __init__(self, settings: TrainerSettings, uid: str, attempt: int, train: Train) -> None:
        """Prepare attempt number ``attempt`` at the job ``uid``; ``train`` does the training."""
        self._settings = settings
        self._uid = uid
        self._attempt = attempt
        self._train = train
        self._token = CancelToken()
        self._why: _Stop | None = None
        self._store = AttemptStore(settings.open_database(), settings.change_rules(), settings.lease_rules())
        self._artifacts = ArtifactStore(settings.artifacts_url)
        self._workdir = (settings.work_dir / uid).resolve()
        self._reporter = RunReporter(
            self._store,
            self._artifacts,
            uid,
            attempt,
            self._workdir,
            progress_seconds=settings.progress_seconds,
            on_cancel=lambda: self._end(_Stop.CANCEL),
        )

    def stop(self) -> None:
        """Save and stop at the next step; another attempt goes on from there."""
        self._end(_Stop.LEAVE)

    def run(self) -> int:
        """Do it; return the process's exit status."""
        keeper = LeaseKeeper(
            self._store,
            self._uid,
            self._attempt,
            lease_seconds=self._settings.lease_seconds,
            on_cancel=lambda: self._end(_Stop.CANCEL),
            on_alone=lambda: self._end(_Stop.ALONE),
            on_lost=_end_at_once,
        )
        try:
            keeper.start()
            record = self._store.read(self._uid)
            if record is None:
                return LOST
            try:
                return self._run(record)
            finally:
                keeper.close()
        except LeaseLost:
            return LOST

    def _run(self, record: JobRecord) -> int:
        try:
            with self._own_workdir():
                self._work(record)
        except LikenessError as error:
            if self._why is _Stop.CANCEL and self._token.cancelled:
                self._reporter.cancelled()
                return 0
            if self._why is not None and self._token.cancelled:
                self._release(INTERRUPTED, self._why.value, counts=False)
                return SAVED_AND_STOPPED
            # Somebody may make room, or another process end: what is there is not given up at once.
            if isinstance(error, StoreUnavailable | InsufficientResources):
                self._release(error.reason, error.message, counts=True)
                return FAILED
            failure = pb2.JobError(reason=error.reason, message=error.message, field=error.field or "")
            self._reporter.failed(failure)
            return FAILED
        except LeaseLost:
            raise
        except Exception as error:
            telemetry.log(_logger, logging.ERROR, "a run failed", exc_info=error, uid=self._uid, attempt=self._attempt)
            self._release(Internal.reason, "the run failed; the trainer's log tells more", counts=True)
            return FAILED
        return 0

    def _work(self, record: JobRecord) -> None:
        self._reporter.enter(pb2.TrainingJob.STATE_VALIDATING)
        spec = training_spec(record.request, self._settings, job_id=record.message.job_id, photos=record.photos)
        self._write_photos(record)
        result = self._train(spec, self._workdir, self._reporter, self._token)
        self._token.check()
        self._reporter.ranked(result.ranking, result.manifest)
        self._reporter.enter(pb2.TrainingJob.STATE_PUBLISHING)
        try:
            earlier = self._store.begin_publishing(self._uid, self._attempt, result.sha256)
        except Cancelled:
            self._end(_Stop.CANCEL)
            raise
        # A call that is repeated by itself could publish twice.
        channel = ChannelOptions(attempts=1)
        with Client(self._settings.generator_address, channel_options=channel) as client:
            patience = self._settings.publish_seconds
            lora = LoraPublisher(client, patience_seconds=patience, tenant_id=record.tenant_id).publish(
                record.request.character_id,
                self._workdir / result.lora_file,
                trigger_word=spec.trigger_word,
                sha256=result.sha256,
                earlier_sha256=earlier,
                token=self._token,
            )
        self._reporter.succeeded(
            pb2.PublishedLora(
                lora_id=lora.lora_id,
                version=lora.version,
                sha256=lora.sha256,
                size_bytes=lora.size_bytes,
                step=result.step,
            )
        )

    def _write_photos(self, record: JobRecord) -> None:
        (self._workdir / "photos").mkdir(parents=True, exist_ok=True)
        for index, photo in enumerate(record.photos):
            path = self._workdir / photo_file(index)
            if not path.exists():
                temporary = path.with_suffix(".part")
                temporary.write_bytes(self._artifacts.get(photo.uri, field=photo.name))
                temporary.replace(path)

    @contextmanager
    def _own_workdir(self) -> Iterator[None]:
        """Hold the job's folder: an older attempt that hung must be gone before another one writes there."""
        self._workdir.mkdir(parents=True, exist_ok=True)
        ends = time.monotonic() + self._settings.launch_seconds
        with (self._workdir / LOCK_FILE).open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > ends:
                        raise TimeoutError("another attempt holds the job's folder") from None
                self._token.check()
                time.sleep(_LOCK_PAUSE_SECONDS)
            yield

    def _end(self, why: _Stop) -> None:
        if self._why is None:
            self._why = why
            self._token.cancel(why.value, Cancelled)

    def _release(self, reason: str, message: str, *, counts: bool) -> None:
        self._store.release(
            self._uid,
            self._attempt,
            pb2.JobError(reason=reason, message=message),
            max_failures=self._settings.max_failures if counts else 0,
            retry_seconds=self._settings.retry_seconds,
        )


def _end_at_once() -> None:
    """End the process without another word: the job may have a new attempt by now."""
    telemetry.log(_logger, logging.ERROR, "the run's lease is lost")
    logging.shutdown()
    os._exit(LOST)


def _train_here(spec: TrainingSpec, workdir: Path, report: Report, token: CancelToken) -> TrainingResult:
    # Loading torch takes seconds; the lease is kept meanwhile.
    from core.training.run import run_training

    return run_training(spec, workdir, report, token)


def main(arguments: Sequence[str] | None = None, train: Train = _train_here) -> int:
    """Run one attempt (the process's own arguments when left out); return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uid", help="the job's key in the database")
    parser.add_argument("attempt", type=int, help="number of the attempt")
    options = parser.parse_args(arguments)
    try:
        settings = TrainerSettings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    telemetry.configure_logging(settings.log_level, settings.log_format)
    attempt = Attempt(settings, options.uid, options.attempt, train)

    def on_signal(number: int, frame: FrameType | None) -> None:
        # In a thread: the interrupted code may hold the lock that stopping needs.
        threading.Thread(target=attempt.stop, name="stop").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return attempt.run()


if __name__ == "__main__":
    sys.exit(main())
