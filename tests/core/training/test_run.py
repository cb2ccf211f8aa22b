from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core.qwen.loading import load_model
from core.qwen.loras.file import read_lora
from core.qwen.loras.stack import LoraStack
from core.qwen.profile import load_profile
from core.runtime.cancellation import CancelToken
from core.training.loop import Example, Optimisation, StepOutcome
from core.training.run import run_training
from core.training.spec import (
    CheckpointSaved,
    CheckpointScored,
    DatasetInspected,
    FellBack,
    RunState,
    StateChanged,
    StepTrained,
    TrainingEvent,
    TrainingResult,
    TrainingSpec,
    checkpoint_lora,
    event_from_json,
    event_to_json,
    latest_checkpoint,
)
from likeness.errors import Cancelled, DatasetUnusable, InvalidRequest, NonFiniteResult, PromptTooLong
from tests.core.training.conftest import MakeSpec, write_photos

Picture = npt.NDArray[np.uint8]


class Killed(BaseException):
    """Stands for a process that ends between two instructions: no handler of the run sees an Exception."""


@pytest.fixture(scope="module")
def finished(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]]:
    workdir = tmp_path_factory.mktemp("finished")
    spec = make_spec(photos=write_photos(workdir, one_person))
    events: list[TrainingEvent] = []
    return spec, workdir, run_training(spec, workdir, events.append, CancelToken()), events


def test_a_run_goes_through_its_states_in_order(
    finished: tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]],
) -> None:
    events = finished[3]
    assert [event.state for event in events if isinstance(event, StateChanged)] == list(RunState)
    assert [event.step for event in events if isinstance(event, StepTrained)] == [1, 2, 3, 4]
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [2, 4]
    assert [event.score.step for event in events if isinstance(event, CheckpointScored)] == [0, 2, 4]
    assert isinstance(events[1], DatasetInspected) and events[1].report.accepted == 10


def test_events_and_the_result_survive_json(
    finished: tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]],
) -> None:
    _, _, result, events = finished
    assert [event_from_json(event_to_json(event)) for event in events] == events
    assert TrainingResult.from_json(result.to_json()) == result


def test_all_prompts_are_drawn_for_all_checkpoints_with_the_same_seeds(
    finished: tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]],
) -> None:
    _, workdir, result, _ = finished
    for score in (result.base, *result.ranking):
        assert [sample.seed for sample in score.samples] == [1000, 1001]
        assert all((workdir / sample.file).stat().st_size > 500 for sample in score.samples)
    assert {sample.prompt for sample in result.ranking[0].samples} == {
        "ohwx person in an office",
        "ohwx person outside",
    }
    assert [score.score for score in result.ranking] == sorted((s.score for s in result.ranking), reverse=True)
    assert result.ranking[0].step == result.step and result.references_held_out


def test_the_file_has_its_manifest_and_the_generator_takes_it(
    finished: tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]],
) -> None:
    spec, workdir, result, _ = finished
    file = workdir / result.lora_file
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        assert all(key.startswith("transformer.transformer_blocks.") for key in opened.offset_keys())
    assert metadata == result.manifest
    assert metadata["likeness.trigger_word"] == "ohwx" and metadata["likeness.step"] == str(result.step)
    assert metadata["likeness.dataset_sha256"] == result.dataset.dataset_sha256
    assert json.loads(metadata["likeness.settings"])["hyperparameters"]["rank"] == 4
    model = load_model(load_profile(spec.profile), weights_dir=Path(spec.weights_dir))
    stack = LoraStack.of(model.pipeline.transformer)
    assert stack is not None
    adapter = read_lora(file.read_bytes(), stack.shapes, dtype=stack.dtype, max_rank=64)
    assert adapter.key == result.sha256 and adapter.rank == 4


@pytest.mark.parametrize("at", ["step 3", "saved 2", "saved 4"])
def test_a_run_that_is_killed_anywhere_ends_with_the_same_file(
    finished: tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]],
    one_person: list[Picture],
    tmp_path: Path,
    at: str,
) -> None:
    spec, workdir, whole, _ = finished
    write_photos(tmp_path, one_person)

    def kill(event: TrainingEvent) -> None:
        name = ""
        if isinstance(event, StepTrained):
            name = f"step {event.step}"
        elif isinstance(event, CheckpointSaved):
            name = f"saved {event.step}"
        elif isinstance(event, CheckpointScored):
            name = f"scored {event.score.step}"
        if name == at:
            raise Killed

    with pytest.raises(Killed):
        run_training(spec, tmp_path, kill, CancelToken())
    taken_up = latest_checkpoint(tmp_path)
    events: list[TrainingEvent] = []
    again = run_training(spec, tmp_path, events.append, CancelToken())
    assert [event.step for event in events if isinstance(event, StepTrained)] == list(range(taken_up + 1, 5))
    for step in (2, 4):
        name = f"loras/{step:06d}.safetensors"
        first, second = load_file(workdir / name), load_file(tmp_path / name)
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert (again.sha256, again.ranking) == (whole.sha256, whole.ranking)


def test_cancelling_keeps_a_checkpoint_of_the_last_step(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path
) -> None:
    token = CancelToken()
    spec = make_spec(photos=write_photos(tmp_path, one_person))

    def cancel(event: TrainingEvent) -> None:
        if isinstance(event, StepTrained) and event.step == 3:
            token.cancel("the client asked for it")

    with pytest.raises(Cancelled, match="the client asked"):
        run_training(spec, tmp_path, cancel, token)
    assert latest_checkpoint(tmp_path) == 3
    with safe_open(tmp_path / checkpoint_lora(3), framework="pt") as opened:
        assert opened.metadata()["likeness.step"] == "3"
    events: list[TrainingEvent] = []
    result = run_training(spec, tmp_path, events.append, CancelToken())
    assert [event.step for event in events if isinstance(event, StepTrained)] == [4]
    assert {score.step for score in result.ranking} == {2, 4}


LAST_ONLY = {"evaluation": {"every": 0}, "dataset": {"held_out": 0}}


def test_a_step_that_does_not_fit_is_taken_again_with_less_kept(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, short = Optimisation.advance, iter([False, True, False, False, False])

    def advance_or_not(run: Optimisation, batch: Sequence[Example]) -> StepOutcome:
        if next(short):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return advance(run, batch)

    # A device that is too small cannot be had here.
    monkeypatch.setattr(Optimisation, "advance", advance_or_not)
    events: list[TrainingEvent] = []
    spec = make_spec(LAST_ONLY, photos=write_photos(tmp_path, one_person[:3]))
    run_training(spec, tmp_path, events.append, CancelToken())
    assert [event.step for event in events if isinstance(event, StepTrained)] == [1, 2, 3, 4]
    (fallen,) = (event for event in events if isinstance(event, FellBack))
    assert "1 of 2 blocks" in fallen.message


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = Optimisation._loss

    def broken(run: Optimisation, batch: Sequence[Example], step: int) -> torch.Tensor:
        return loss(run, batch, step) * (float("nan") if step == 3 else 1)

    monkeypatch.setattr(Optimisation, "_loss", broken)
    spec = make_spec(LAST_ONLY, photos=write_photos(tmp_path, one_person[:3]))
    with pytest.raises(NonFiniteResult, match="step 3") as told:
        run_training(spec, tmp_path, lambda _: None, CancelToken())
    assert told.value.metadata == {"step": "3"}
    assert latest_checkpoint(tmp_path) == 2
    assert not list(tmp_path.glob("loras/*"))


def test_nothing_is_encoded_twice(
    finished: tuple[TrainingSpec, Path, TrainingResult, list[TrainingEvent]],
) -> None:
    spec, workdir, _, _ = finished
    before = {file: file.stat().st_mtime_ns for file in (workdir / "cache").rglob("*.safetensors")}
    run_training(spec, workdir, lambda _: None, CancelToken())
    assert {file: file.stat().st_mtime_ns for file in (workdir / "cache").rglob("*.safetensors")} == before


def test_prior_pictures_are_drawn_once_and_trained_on(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path
) -> None:
    prior = {"pictures": 2, "every": 2}
    spec = make_spec({"hyperparameters": {"prior": prior}}, photos=write_photos(tmp_path, one_person))
    result = run_training(spec, tmp_path, lambda _: None, CancelToken())
    assert result.step in (2, 4)
    assert len(list((tmp_path / "cache/latents").iterdir())) == 7 + 2


def test_too_few_good_photos_end_the_run_before_the_model_is_loaded(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path
) -> None:
    photos = write_photos(tmp_path, one_person[:4])
    for photo in photos[:2]:
        (tmp_path / photo.file).write_bytes((tmp_path / photo.file).read_bytes()[:2000])
    events: list[TrainingEvent] = []
    with pytest.raises(DatasetUnusable, match="2 of 4 photos are usable"):
        run_training(make_spec(photos=photos), tmp_path, events.append, CancelToken())
    last = events[-1]
    assert isinstance(last, DatasetInspected)
    assert [[f.reason for f in photo.findings] for photo in last.report.photos] == [
        ["unreadable"],
        ["unreadable"],
        [],
        [],
    ]


def test_a_caption_that_is_too_long_is_refused(make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path) -> None:
    photos = write_photos(tmp_path, one_person)
    long = type(photos[0])(file=photos[0].file, name="x", caption="a red shirt and " * 120)
    with pytest.raises(PromptTooLong):
        run_training(make_spec(photos=(long, *photos[1:])), tmp_path, lambda _: None, CancelToken())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters": {"rank": 128}}, "hyperparameters.rank"),
        ({"hyperparameters": {"targets": ["nothing"]}}, "hyperparameters.targets"),
        ({"evaluation": {"mode": "turbo"}}, "mode"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(
    make_spec: MakeSpec, one_person: list[Picture], tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    spec = make_spec(changes, photos=write_photos(tmp_path, one_person))
    with pytest.raises(InvalidRequest) as caught:
        run_training(spec, tmp_path, lambda _: None, CancelToken())
    assert caught.value.field == field
