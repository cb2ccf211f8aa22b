"""A training run from photos to the file that is published. It can be killed at any moment and called again."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from core.faces import FaceAnalyser
from core.qwen.memory import free_bytes
from core.runtime.cancellation import CancelToken
from core.training.base import BaseSource, load_decoder, load_trainable, release
from core.training.cache import Encoded, EncodingCache
from core.training.checkpoints import restore_checkpoint, save_checkpoint
from core.training.dataset import Dataset, prepare_dataset
from core.training.drawing import Painter
from core.training.export import make_manifest
from core.training.loop import Example, Optimisation, StepOutcome
from core.training.memory import FallbackLadder
from core.training.photos import PhotoFiles
from core.training.preflight import check_room
from core.training.priors import PriorPictures
from core.training.selection import Selection
from core.training.spec import (
    CheckpointSaved,
    DatasetInspected,
    FellBack,
    Progress,
    Report,
    RunState,
    StateChanged,
    StepTrained,
    TrainingEvent,
    TrainingResult,
    TrainingSpec,
)
from likeness.errors import DatasetUnusable, InsufficientResources, LikenessError

_SMOOTHING = 0.05


def run_training(spec: TrainingSpec, workdir: Path, report: Report, token: CancelToken) -> TrainingResult:
    """Train, choose the best checkpoint, and write the file; or go on where an earlier call in ``workdir`` stopped.

    Everything that the run writes is in ``workdir``: ``cache``, ``checkpoints``, ``loras``, ``samples``, ``scores``.

    Args:
        spec: what to do; the files of its photos are in ``workdir``.
        workdir: a folder of the run's own.
        report: takes events, in the calling thread.
        token: stops the run between two steps; it saves a checkpoint first.

    Raises:
        DatasetUnusable: too few photos are usable, or they show different people.
        InvalidRequest, PromptTooLong: a setting or a caption does not fit the model.
        NonFiniteResult: the loss or the weights are not finite; the last good checkpoint is kept.
        InsufficientResources: memory or disk does not suffice, whatever is given up.
        WeightsMissing: the base's files, or the device, are not there.
        Cancelled, DeadlineExceeded: by ``token``.
    """
    at = RunState.VALIDATING

    def reported(event: TrainingEvent) -> None:
        nonlocal at
        if isinstance(event, StateChanged):
            at = event.state
        report(event)

    try:
        return _run(spec, workdir, reported, token)
    except torch.OutOfMemoryError as error:
        raise InsufficientResources(
            f"the device ran out of memory while it was {at.value.lower()}: take a smaller resolution or "
            "evaluation.side, or a larger or emptier device",
            resource="memory",
        ) from error


def _run(spec: TrainingSpec, workdir: Path, report: Report, token: CancelToken) -> TrainingResult:
    source = BaseSource.find(spec)
    torch.set_num_threads(spec.threads)
    report(StateChanged(RunState.VALIDATING))
    check_room(source, spec.settings, workdir, free_bytes(source.device))
    analyser = FaceAnalyser(Path(spec.weights_dir) / "faces", spec.threads)
    dataset = prepare_dataset(PhotoFiles(spec.photos, workdir, token), spec, analyser)
    report(DatasetInspected(dataset.report))
    if not dataset.report.usable:
        raise DatasetUnusable("; ".join(dataset.report.problems), field="photos")
    token.check()

    report(StateChanged(RunState.CACHING))
    cache = EncodingCache(workdir / "cache", source)
    priors = PriorPictures(spec, source, cache)
    encoded = cache.encode(
        dataset.samples,
        [*(sample.caption for sample in dataset.samples), *Selection.texts(spec, source), *priors.texts()],
        token=token,
        progress=lambda done, total: report(Progress(RunState.CACHING, done, total)),
    )
    base = load_trainable(source, spec)
    painter = Painter(source.profile, base, load_decoder(source), encoded, spec.settings.evaluation.mode, token)
    prior_examples = priors.draw(painter)

    manifest = make_manifest(spec, source, dataset_sha256=dataset.report.dataset_sha256, step=0)
    selection = Selection(spec, workdir, source, painter, analyser, dataset)
    run = Optimisation(base, make_examples(dataset, encoded), prior_examples, spec.settings.hyperparameters, 16)
    training = _Training(spec, workdir, run, selection, _fingerprint(manifest), report, token)
    losses = training.finish()
    report(StateChanged(RunState.PUBLISHING))
    return selection.result(losses.first, losses.last, losses.seconds)


def make_examples(dataset: Dataset, encoded: Encoded) -> list[Example]:
    """Put samples together with what the encoders made of them."""
    return [
        Example(
            latents=encoded.latents[sample.digest],
            text=encoded.texts[sample.caption],
            size=sample.size,
            side=sample.side,
            face=sample.face,
        )
        for sample in dataset.samples
    ]


@dataclass(frozen=True)
class _Losses:
    first: float
    last: float
    seconds: float


class _Training:
    """The loop around the optimisation: events, checkpoints, scores, and less memory where it is short."""

    def __init__(
        self,
        spec: TrainingSpec,
        workdir: Path,
        run: Optimisation,
        selection: Selection,
        fingerprint: str,
        report: Report,
        token: CancelToken,
    ) -> None:
        self._settings = spec.settings.hyperparameters
        self._workdir = workdir
        self._run = run
        self._selection = selection
        self._fingerprint = fingerprint
        self._report = report
        self._token = token
        self._smoothed = 0.0
        self._seconds = 0.0
        self._saved_step = 0
        self._ladder = FallbackLadder(run)

    def finish(self) -> _Losses:
        """Take all steps that are left, and score what is to be scored."""
        run, total = self._run, self._settings.steps
        restored = restore_checkpoint(self._workdir, run, fingerprint=self._fingerprint)
        self._smoothed = restored or 0.0
        self._saved_step = run.step
        self._selection.score_base(self._report)
        self._report(StateChanged(RunState.TRAINING))
        begun, first = run.step, self._smoothed
        self._score_due()
        order = run.order()
        try:
            while run.step < total:
                self._token.check()
                outcome = self._advance(next(order))
                if run.step - begun <= 20:
                    first = self._smoothed
                self._tell(outcome, run.step - begun)
                if run.step % self._settings.checkpoint_every == 0 or run.step == total:
                    self._save()
                    self._score_due()
        except LikenessError:
            if self._token.stopped and run.step > self._saved_step:
                self._save()
            if self._token.stopped and run.step:
                # Whoever cancels a run may still want what it has learned.
                self._selection.export(run.step)
            raise
        return _Losses(first, self._smoothed, self._seconds)

    def _advance(self, batch: list[Example]) -> StepOutcome:
        start = time.monotonic()
        while True:
            try:
                outcome = self._run.advance(batch)
                break
            except torch.OutOfMemoryError as error:
                self._run.optimizer.zero_grad(set_to_none=True)
                message = self._ladder.descend(error)
            release(self._run.base.transformer.device)
            self._report(FellBack(message))
        self._seconds += time.monotonic() - start
        fresh = self._smoothed == 0.0
        self._smoothed = outcome.loss if fresh else self._smoothed + _SMOOTHING * (outcome.loss - self._smoothed)
        return outcome

    def _tell(self, outcome: StepOutcome, done: int) -> None:
        each = self._seconds / done
        self._report(
            StepTrained(
                step=self._run.step,
                total_steps=self._settings.steps,
                loss=outcome.loss,
                smoothed_loss=self._smoothed,
                learning_rate=outcome.learning_rate,
                gradient_norm=outcome.gradient_norm,
                seconds_per_step=each,
                eta_seconds=each * (self._settings.steps - self._run.step),
            )
        )

    def _save(self) -> None:
        folder = save_checkpoint(self._workdir, self._run, fingerprint=self._fingerprint, smoothed_loss=self._smoothed)
        self._saved_step = self._run.step
        self._report(CheckpointSaved(self._run.step, str(folder.relative_to(self._workdir))))

    def _score_due(self) -> None:
        """Score the step that the run is at, when it is one that is scored and was not yet."""
        if self._selection.is_due(self._run.step):
            last = self._run.step == self._settings.steps
            if last:
                self._report(StateChanged(RunState.EVALUATING))
            self._selection.score(self._run.step, self._report)


def _fingerprint(manifest: dict[str, str]) -> str:
    """What a run's numbers depend on."""
    parts = (manifest[f"likeness.{name}"] for name in ("base_revision", "dataset_sha256", "settings", "trigger_word"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
