"""What a run tells, into the database: the job as clients see it, its events, its pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from core.runtime.artifacts import ArtifactStore
from core.training.spec import (
    CheckpointSaved,
    CheckpointScore,
    CheckpointScored,
    DatasetInspected,
    DatasetReport,
    FellBack,
    Progress,
    SamplePicture,
    StateChanged,
    StepTrained,
    TrainingEvent,
)
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.attempt_store import AttemptStore
from services.trainer.photos import job_prefix
from services.trainer.plan import dataset_messages, dataset_warnings

Event = pb2.TrainingEvent


class RunReporter:
    """Takes the events of one attempt. Every call raises LeaseLost once the attempt holds its job no longer."""

    def __init__(
        self,
        store: AttemptStore,
        artifacts: ArtifactStore,
        uid: str,
        attempt: int,
        workdir: Path,
        *,
        progress_seconds: float,
        on_cancel: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell ``store`` of what happens in ``workdir``, of progress at most every ``progress_seconds``.

        ``on_cancel`` is called when the store says that the job was told to stop.
        """
        self._store = store
        self._artifacts = artifacts
        self._uid = uid
        self._attempt = attempt
        self._workdir = workdir
        self._progress_seconds = progress_seconds
        self._on_cancel = on_cancel
        self._clock = clock
        self._told_at = float("-inf")

    def __call__(self, event: TrainingEvent) -> None:
        """Take an event of the run."""
        match event:
            case StateChanged(state):
                self.enter(pb2.TrainingJob.State.Value(f"STATE_{state.value}"))
            case DatasetInspected(report):
                self._dataset(report)
            case Progress(_, done, total):
                self._progress(lambda message: _stage(message, done, total), last=done == total)
            case StepTrained():
                self._progress(lambda message: _step(message, event), last=event.step == event.total_steps)
            case CheckpointSaved(step):
                self._change(lambda message: _checkpoint(message, step))
            case CheckpointScored(score):
                self._scored(score)
            case FellBack(text):
                self._change(lambda message: _warning(message, text))

    def enter(self, state: pb2.TrainingJob.State.ValueType) -> None:
        """Bring the job into a state; nothing happens when it is there."""

        def change(message: pb2.TrainingJob) -> Event | None:
            if message.state == state:
                return None
            message.state = state
            message.stage_done = message.stage_total = 0
            if not message.HasField("start_time"):
                message.start_time.GetCurrentTime()
            return Event(type=Event.TYPE_STATE_CHANGED)

        self._change(change)

    def ranked(self, ranking: tuple[CheckpointScore, ...], manifest: dict[str, str]) -> None:
        """Tell the final order of the checkpoints, and what the LoRA was made from."""

        def change(message: pb2.TrainingJob) -> None:
            del message.checkpoints[:]
            message.checkpoints.extend(map(_score, ranking))
            message.manifest.clear()
            message.manifest.update(manifest)

        self._change(change)

    def succeeded(self, lora: pb2.PublishedLora) -> None:
        """End the job well."""

        def change(message: pb2.TrainingJob) -> Event:
            message.state = pb2.TrainingJob.STATE_SUCCEEDED
            message.lora.CopyFrom(lora)
            return Event(type=Event.TYPE_STATE_CHANGED, lora=lora)

        self._change(change)

    def failed(self, error: pb2.JobError) -> None:
        """End the job with an error."""

        def change(message: pb2.TrainingJob) -> Event:
            message.state = pb2.TrainingJob.STATE_FAILED
            message.error.CopyFrom(error)
            return Event(type=Event.TYPE_STATE_CHANGED, error=error)

        self._change(change)

    def cancelled(self) -> None:
        """End the job as it was told to."""

        def change(message: pb2.TrainingJob) -> Event:
            message.state = pb2.TrainingJob.STATE_CANCELLED
            return Event(type=Event.TYPE_STATE_CHANGED)

        self._change(change)

    def _change(self, change: Callable[[pb2.TrainingJob], Event | None]) -> None:
        # Sooner than the next heartbeat tells it.
        if self._store.update(self._uid, self._attempt, change).cancel_requested:
            self._on_cancel()

    def _progress(self, change: Callable[[pb2.TrainingJob], None], *, last: bool) -> None:
        now = self._clock()
        if not last and now - self._told_at < self._progress_seconds:
            return
        self._told_at = now

        def told(message: pb2.TrainingJob) -> Event:
            change(message)
            return Event(type=Event.TYPE_PROGRESS)

        self._change(told)

    def _dataset(self, report: DatasetReport) -> None:
        kept = pb2.TrainingJob(dataset=dataset_messages(report))
        self._store.keep_dataset(self._uid, self._attempt, kept)

        def change(message: pb2.TrainingJob) -> None:
            message.dataset_sha256 = report.dataset_sha256
            for text in dataset_warnings(report):
                _warn_once(message, text)

        self._change(change)

    def _scored(self, score: CheckpointScore) -> None:
        samples = [self._sample(sample) for sample in score.samples]

        def change(message: pb2.TrainingJob) -> Event:
            others = [item for item in message.checkpoints if item.step != score.step]
            pictures = [item for item in message.samples if item.step != score.step]
            del message.checkpoints[:], message.samples[:]
            ranked = sorted([*others, _score(score)], key=lambda item: -item.score)
            message.checkpoints.extend(ranked)
            message.samples.extend(sorted([*pictures, *samples], key=lambda item: item.step))
            return Event(type=Event.TYPE_SCORED, checkpoint=_score(score), samples=samples)

        self._change(change)

    def _sample(self, sample: SamplePicture) -> pb2.TrainingSample:
        data = (self._workdir / sample.file).read_bytes()
        uri = self._artifacts.put(f"{job_prefix(self._uid)}/samples", data, ".jpg")
        return pb2.TrainingSample(
            step=sample.step,
            prompt=sample.prompt,
            artifact_uri=uri,
            seed=sample.seed,
            faces=sample.faces,
            identity=sample.identity,
        )


def _stage(message: pb2.TrainingJob, done: int, total: int) -> None:
    message.stage_done, message.stage_total = done, total


def _step(message: pb2.TrainingJob, event: StepTrained) -> None:
    message.step, message.total_steps = event.step, event.total_steps
    message.loss, message.seconds_per_step = event.smoothed_loss, event.seconds_per_step
    message.remaining.FromMilliseconds(round(event.eta_seconds * 1000))


def _checkpoint(message: pb2.TrainingJob, step: int) -> Event:
    # Steps are told at a bounded rate: the one of the checkpoint may not have been.
    message.step = step
    message.checkpoint_step = max(step, message.checkpoint_step)
    return Event(type=Event.TYPE_CHECKPOINT)


def _warning(message: pb2.TrainingJob, text: str) -> Event | None:
    return Event(type=Event.TYPE_WARNING, message=text) if _warn_once(message, text) else None


def _warn_once(message: pb2.TrainingJob, text: str) -> bool:
    """Add a warning; a resumed run gives the same ones again. Return whether it is new."""
    if text in message.warnings:
        return False
    message.warnings.append(text)
    return True


def _score(score: CheckpointScore) -> pb2.RankedCheckpoint:
    return pb2.RankedCheckpoint(
        step=score.step,
        score=score.score,
        identity=score.identity,
        adherence=score.adherence,
        copies=score.copies,
        one_face=score.one_face,
    )
