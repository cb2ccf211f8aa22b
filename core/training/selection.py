"""The choice of the checkpoint: the same prompts and seeds at set steps, scored and ranked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter

from core.faces import FaceAnalyser
from core.qwen.loras.adapter import Adapter
from core.qwen.profile import Size
from core.qwen.request import resolve_request, resolve_size
from core.runtime.images import ImageFormat, encode_image
from core.training.base import BaseSource
from core.training.buckets import buckets_of
from core.training.dataset import Dataset
from core.training.drawing import Painter
from core.training.export import export_lora, make_manifest
from core.training.files import write_whole
from core.training.preflight import scored_steps
from core.training.scoring import DrawnPicture, Judge, Picture
from core.training.spec import (
    CheckpointScore,
    CheckpointScored,
    Progress,
    Report,
    RunState,
    TrainingResult,
    TrainingSpec,
    checkpoint_lora,
)
from likeness.errors import Internal

_SCORE = TypeAdapter(CheckpointScore)
_QUALITY = 92


def sample_size(spec: TrainingSpec, source: BaseSource) -> Size:
    """Return the size of sample pictures: a square of the settings' side, as the model takes it."""
    size = next(size for size in buckets_of(source.profile.sizes, spec.settings.evaluation.side))
    return resolve_size(source.profile.sizes, width=size.width, height=size.height)


def negative_texts(source: BaseSource) -> list[str]:
    """Return what guidance leads away from in the sample pictures' mode; empty where the mode has no guidance."""
    request = resolve_request(source.profile, prompt="a person", seed=0, mode=source.mode.name)
    return [request.negative_prompt] if request.guided else []


class Selection:
    """Scores checkpoints, remembers the scores on the disk, and names the best."""

    def __init__(
        self,
        spec: TrainingSpec,
        workdir: Path,
        source: BaseSource,
        painter: Painter,
        analyser: FaceAnalyser,
        dataset: Dataset,
    ) -> None:
        """Prepare for the run in ``workdir``."""
        self._spec = spec
        self._workdir = workdir
        self._source = source
        self._painter = painter
        self._analyser = analyser
        self._dataset = dataset
        self._size = sample_size(spec, source)
        self._judge: Judge | None = None
        self._base: CheckpointScore | None = None

    @staticmethod
    def texts(spec: TrainingSpec, source: BaseSource) -> list[str]:
        """What has to be encoded to draw the sample pictures."""
        prompts = spec.settings.evaluation.prompts
        subjects = (spec.subject, spec.settings.class_word)
        return [prompt.format(subject=s) for s in subjects for prompt in prompts] + negative_texts(source)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps whose checkpoints are scored; the last one always is."""
        return scored_steps(self._spec.settings)

    def is_due(self, step: int) -> bool:
        """Return whether the checkpoint of ``step`` is to be scored and was not."""
        return step in self.steps and self._read(step) is None

    def score_base(self, report: Report) -> CheckpointScore:
        """Draw the prompts without a LoRA and without the trigger word, and score them: what there is to gain on."""
        pictures = [
            self._draw(prompt, k, None) for k, prompt in enumerate(self._prompts(self._spec.settings.class_word))
        ]
        hashes, references = self._dataset.hashes, self._dataset.references
        self._judge = Judge(self._analyser, references, hashes, pictures, self._spec.settings.evaluation)
        self._base = self._score(0, pictures, self._spec.settings.class_word, "")
        report(CheckpointScored(self._base))
        return self._base

    def score(self, step: int, report: Report) -> CheckpointScore:
        """Publish the adapter as it is into the work directory, draw with that file, and score the pictures."""
        adapter = self.export(step).to(self._painter.base.transformer.device)
        prompts = self._prompts(self._spec.subject)
        pictures = []
        for k, prompt in enumerate(prompts):
            pictures.append(self._draw(prompt, k, adapter))
            report(Progress(RunState.EVALUATING, k + 1, len(prompts)))
        score = self._score(step, pictures, self._spec.subject, checkpoint_lora(step))
        write_whole(self._score_file(step), _SCORE.dump_json(score))
        report(CheckpointScored(score))
        return score

    def export(self, step: int) -> Adapter:
        """Write the adapter as it is after ``step`` into the work directory; return it as the generator reads it."""
        file, settings = self._workdir / checkpoint_lora(step), self._spec.settings.hyperparameters
        adapter, _ = export_lora(file, self._painter.base, settings, self._manifest(step))
        return adapter

    def result(self, first_loss: float, last_loss: float, seconds: float) -> TrainingResult:
        """Rank what was scored."""
        scores = [score for step in self.steps if (score := self._read(step)) is not None]
        if not scores or self._base is None:
            raise Internal("no checkpoint was scored")
        ranking = sorted(scores, key=lambda score: (-score.score, score.step))
        best = ranking[0]
        data = (self._workdir / best.lora_file).read_bytes()
        return TrainingResult(
            lora_file=best.lora_file,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            step=best.step,
            ranking=tuple(ranking),
            base=self._base,
            references_held_out=self._dataset.references_held_out,
            dataset=self._dataset.report,
            manifest=self._manifest(best.step),
            train_seconds=seconds,
            first_loss=first_loss,
            last_loss=last_loss,
        )

    def _prompts(self, subject: str) -> list[str]:
        return [prompt.format(subject=subject) for prompt in self._spec.settings.evaluation.prompts]

    def _draw(self, prompt: str, place: int, adapter: Adapter | None) -> Picture:
        return self._painter.draw(prompt, self._spec.settings.evaluation.seed + place, self._size, adapter)

    def _score(self, step: int, pictures: list[Picture], subject: str, lora_file: str) -> CheckpointScore:
        assert self._judge is not None
        drawn = []
        for k, (prompt, pixels) in enumerate(zip(self._prompts(subject), pictures, strict=True)):
            name = f"samples/{step:06d}-{k}.jpg"
            write_whole(self._workdir / name, encode_image(pixels, ImageFormat.JPEG, _QUALITY).data)
            drawn.append(DrawnPicture(prompt, self._spec.settings.evaluation.seed + k, pixels, name))
        return self._judge.score(step, drawn, lora_file)

    def _manifest(self, step: int) -> dict[str, str]:
        digest = self._dataset.report.dataset_sha256
        return make_manifest(self._spec, self._source, dataset_sha256=digest, step=step)

    def _score_file(self, step: int) -> Path:
        return self._workdir / "scores" / f"{step:06d}.json"

    def _read(self, step: int) -> CheckpointScore | None:
        try:
            score = _SCORE.validate_json(self._score_file(step).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return score if (self._workdir / score.lora_file).is_file() else None
