"""A training run of the real signature without a model: it steps as far as a file allows, and checkpoints.

The folder that LIKENESS_TEST_RUN names holds ``allowed``, the last step that may be done, and gets ``steps.log``, a
line ``<pid> <step>`` for each step. Behaviours are files there: ``crash_at``, ``refuse``,
``no_room`` (once, at step 7), and ``score_all``: every
checkpoint is scored, not the last alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from core.runtime.cancellation import CancelToken
from core.training.spec import (
    CheckpointSaved,
    CheckpointScore,
    CheckpointScored,
    DatasetInspected,
    DatasetReport,
    PhotoReport,
    Progress,
    Report,
    RunState,
    SamplePicture,
    StateChanged,
    StepTrained,
    TrainingResult,
    TrainingSpec,
    checkpoint_lora,
)
from likeness.errors import InsufficientResources, PhotosUnusable
from services.trainer.run import main

VARIABLE = "LIKENESS_TEST_RUN"
CHECKPOINT_EVERY = 5


def report_of(names: list[str]) -> DatasetReport:
    """Return a report in which every photo is fine."""
    photos = tuple(
        PhotoReport(
            name=name, accepted=True, held_out=False, findings=(), caption="a photo", width=32, height=48,
            face_box=None, sharpness=None, turn_degrees=None, identity=None, crops=(), thumbnail=b"\xff\xd8thumb",
        )
        for name in names
    )  # fmt: skip
    return DatasetReport(photos=photos, dataset_sha256="d" * 64, problems=(), warnings=(), samples=len(photos))


def run_training(spec: TrainingSpec, workdir: Path, report: Report, token: CancelToken) -> TrainingResult:
    """Train nothing, in the order of a real run."""
    folder = Path(os.environ[VARIABLE])
    report(StateChanged(RunState.VALIDATING))
    for photo in spec.photos:
        assert (workdir / photo.file).read_bytes()
    dataset = report_of([photo.name for photo in spec.photos])
    report(DatasetInspected(dataset))
    if (folder / "refuse").exists():
        raise PhotosUnusable("no photo shows a face", field="images")
    report(StateChanged(RunState.CACHING))
    report(Progress(RunState.CACHING, 1, 1))
    report(StateChanged(RunState.TRAINING))
    checkpoint = workdir / "checkpoint.json"
    done = int(json.loads(checkpoint.read_text())["step"]) if checkpoint.exists() else 0
    total = spec.settings.hyperparameters.steps
    scores: list[CheckpointScore] = []
    for step in range(done + 1, total + 1):
        _wait_allowed(folder, step, token)
        crash = folder / "crash_at"
        if crash.exists() and int(crash.read_text()) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == 7 and (folder / "no_room").exists():
            (folder / "no_room").unlink()
            raise InsufficientResources("the disk is full", resource="disk")
        with (folder / "steps.log").open("a") as log:
            log.write(f"{os.getpid()} {step}\n")
        report(StepTrained(step, total, 1 / step, 1 / step, 1e-4, 1.0, 0.01, (total - step) * 0.01))
        if step % CHECKPOINT_EVERY == 0 or step == total:
            temporary = checkpoint.with_suffix(".part")
            temporary.write_text(json.dumps({"step": step}))
            temporary.replace(checkpoint)
            _write_lora(spec, workdir, step)
            report(CheckpointSaved(step, "checkpoint"))
            if step < total and (folder / "score_all").exists():
                scores.append(_score(spec, workdir, step, report))
    report(StateChanged(RunState.EVALUATING))
    score = _score(spec, workdir, total, report)
    data = (workdir / score.lora_file).read_bytes()
    return TrainingResult(
        lora_file=score.lora_file, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), step=total,
        ranking=(score, *scores), base=score, references_held_out=True, dataset=dataset,
        manifest={"base_model": "likeness/fake"}, train_seconds=1.0, first_loss=1.0, last_loss=0.1,
    )  # fmt: skip


def _score(spec: TrainingSpec, workdir: Path, step: int, report: Report) -> CheckpointScore:
    """Tell a checkpoint's score."""
    (workdir / "sample.jpg").write_bytes(b"\xff\xd8sample")
    sample = SamplePicture(step, "photo of ohwx person", 1000, "sample.jpg", 1, 0.6, 0.7, 20)
    last = step == spec.settings.hyperparameters.steps
    score = CheckpointScore(step, 0.7 if last else 0.5, 0.6, 0.7, 0.0, 1.0, (sample,), checkpoint_lora(step))
    report(CheckpointScored(score))
    return score


def _write_lora(spec: TrainingSpec, workdir: Path, step: int) -> None:
    file = workdir / checkpoint_lora(step)
    file.parent.mkdir(exist_ok=True)
    last = step == spec.settings.hyperparameters.steps
    file.write_bytes(f"lora of {spec.job_id}{'' if last else f' at {step}'}".encode())


def _wait_allowed(folder: Path, step: int, token: CancelToken) -> None:
    while True:
        token.check()
        allowed = folder / "allowed"
        if not allowed.exists() or int(allowed.read_text() or 0) >= step:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(train=run_training))
