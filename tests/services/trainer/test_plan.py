"""What a request asks for, over the profile's own settings."""

from __future__ import annotations

from typing import Any

import pytest

from core.training.settings import Policy, Reason
from likeness.errors import InvalidRequest
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.plan import training_settings, training_spec
from services.trainer.records import StoredPhoto
from services.trainer.settings import TrainerSettings


def request(overrides: dict[str, Any] | None = None, **settings: Any) -> pb2.CreateTrainingJobRequest:
    """Return a request with settings."""
    message = pb2.CreateTrainingJobRequest(character_id="anna", trigger_word="ohwx")
    message.settings.CopyFrom(pb2.TrainingSettings(**settings))
    if overrides is not None:
        message.settings.overrides.update(overrides)
    return message


def test_what_is_left_out_is_the_profiles_own() -> None:
    settings = TrainerSettings.load()
    asked = training_settings(request(rank=8, learning_rate=0.5e-3, resolution=160, seed=3), settings)
    plain = training_settings(request(), settings)
    hyperparameters = asked.hyperparameters
    assert (hyperparameters.rank, hyperparameters.learning_rate, hyperparameters.seed) == (8, 0.5e-3, 3)
    assert [share.side for share in hyperparameters.resolutions] == [160]
    assert hyperparameters.steps == plain.hyperparameters.steps
    assert plain.hyperparameters.rank != 8


def test_warm_up_and_evaluation_follow_the_steps_that_were_asked_for() -> None:
    asked = training_settings(request(steps=20, checkpoint_every=7), TrainerSettings.load())
    assert asked.hyperparameters.warmup_steps < 20
    assert asked.evaluation.every % 7 == 0


@pytest.mark.parametrize(
    ("settings", "every", "from_step"),
    [
        ({}, 120, 360),
        ({"steps": 300}, 60, 180),
        ({"steps": 60, "checkpoint_every": 20}, 20, 36),
        ({"steps": 2000}, 120, 1200),
    ],
)
def test_a_shorter_run_scores_as_many_checkpoints_in_its_same_part(
    settings: dict[str, Any], every: int, from_step: int
) -> None:
    evaluation = training_settings(request(**settings), TrainerSettings.load()).evaluation
    assert (evaluation.every, evaluation.from_step) == (every, from_step)


def test_overrides_reach_everything_else() -> None:
    overrides = {"dataset": {"policy": {"blurred": "warn"}, "min_photos": 6}, "evaluation": {"every": 120}}
    asked = training_settings(request(overrides), TrainerSettings.load())
    assert asked.dataset.policy_of(Reason.BLURRED) is Policy.WARN
    assert (asked.dataset.min_photos, asked.evaluation.every) == (6, 120)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (request({"hyperparameters": {"rank": 4}}), "settings.overrides.hyperparameters.rank"),
        (request({"hyperparameters": 3}), "settings.overrides.hyperparameters"),
        (request({"hyperparameters": {"batch_size": 0}}), "settings.overrides.hyperparameters.batch_size"),
        (request({"dataset": {"policy": {"nonsense": "warn"}}}), "settings.overrides.dataset.policy"),
        (request({"evaluation": {"every": 33}}), "settings.overrides"),
        (request({"hyperparameters": {"batchsize": 2}}), "settings.overrides.hyperparameters.batchsize"),
        (request(resolution=170), "settings.resolution"),
        (request(learning_rate=2.0), "settings.learning_rate"),
        (request(rank=65), "settings.rank"),
        (request({"evaluation": {"mode": "slow"}}), "settings.overrides.evaluation.mode"),
    ],
)
def test_what_can_not_be_is_named(message: pb2.CreateTrainingJobRequest, field: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        training_settings(message, TrainerSettings.load())
    assert (told.value.field or "").startswith(field), told.value


def test_photos_are_files_of_the_trainers_own_naming() -> None:
    photos = [StoredPhoto("artifact://a/b", "../../etc/passwd", "a caption")]
    spec = training_spec(request(), TrainerSettings.load(), job_id="first", photos=photos)
    assert [(photo.file, photo.name, photo.caption) for photo in spec.photos] == [
        ("photos/000.photo", "../../etc/passwd", "a caption")
    ]
