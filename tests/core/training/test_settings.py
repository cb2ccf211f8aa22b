from __future__ import annotations

import pytest

from core.training.settings import Policy, Reason, change_settings, default_settings
from core.training.spec import TrainingSpec
from likeness.errors import InvalidRequest


def test_defaults_differ_by_profile() -> None:
    miniature, qwen = default_settings("miniature").hyperparameters, default_settings("qwen").hyperparameters
    assert (qwen.rank, qwen.resolutions[0].side, qwen.export_dtype) == (32, 1024, "bfloat16")
    assert (miniature.resolutions[0].side, miniature.export_dtype) == (256, "float32")


def test_changes_leave_the_rest_alone() -> None:
    base = default_settings("qwen")
    changed = change_settings(base, {"hyperparameters": {"rank": 8}, "class_word": "woman"})
    assert (changed.hyperparameters.rank, changed.class_word) == (8, "woman")
    assert changed.hyperparameters.learning_rate == base.hyperparameters.learning_rate
    assert changed.evaluation == base.evaluation


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters": {"rank": 0}}, "settings.hyperparameters.rank"),
        ({"hyperparameters": {"learning_rate": float("nan")}}, "settings.hyperparameters.learning_rate"),
        ({"hyperparameters": {"rnak": 4}}, "settings.hyperparameters.rnak"),
        ({"class_word": ""}, "settings.class_word"),
        ({"caption_template": "no subject"}, "settings"),
        ({"caption_template": "{subject.__class__}"}, "settings"),
        ({"evaluation": {"prompts": ["{subject} {other}"]}}, "settings.evaluation"),
        ({"evaluation": {"every": 150}}, "settings"),
        ({"hyperparameters": {"warmup_steps": 5000}}, "settings.hyperparameters"),
    ],
)
def test_bad_settings_are_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        change_settings(default_settings("qwen"), changes)
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hyperparameters": {"rnak": 4}}, "did you mean rank?"),
        ({"sampler": {}}, "there are caption_template, class_word, dataset, evaluation, hyperparameters"),
        ({"dataset": {"min_fotos": 4}}, "did you mean min_photos?"),
        ({"hyperparameters": {"resolutions": [{"side": 256, "share": 1}]}}, "there are side, weight"),
        ({"hyperparameters": {"prior": {"picture": 4}}}, "there is no such setting"),
        ({"hyperparameters": {"warmup_steps": 5000}}, "warmup_steps must be fewer than steps"),
    ],
)
def test_a_fault_says_what_would_be_right(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be set so") as caught:
        change_settings(default_settings("qwen"), changes)
    assert any(words in violation.message for violation in caught.value.violations)
    assert "Value error" not in caught.value.message


def test_photos_without_one_known_face_are_rejected_whatever_the_policy_says() -> None:
    settings = change_settings(
        default_settings("qwen"), {"dataset": {"policy": {"no_face": "warn", "blurred": "warn"}}}
    ).dataset
    assert settings.policy_of(Reason.NO_FACE) is Policy.REJECT
    assert settings.policy_of(Reason.BLURRED) is Policy.WARN
    assert settings.policy_of(Reason.DUPLICATE) is Policy.REJECT


@pytest.mark.parametrize("word", ["", "  ", "a{b}"])
def test_a_trigger_word_has_to_be_a_word(word: str) -> None:
    with pytest.raises(ValueError, match="trigger_word"):
        TrainingSpec(job_id="j", character_id="c", trigger_word=word, settings=default_settings("qwen"))


@pytest.mark.parametrize("file", ["../x.png", "photos/../x", "/etc/passwd", "photos/a/b.png", "x.png"])
def test_a_photos_file_cannot_lead_out_of_the_work_directory(file: str) -> None:
    spec = TrainingSpec(job_id="j", character_id="c", trigger_word="w", settings=default_settings("qwen"))
    text = spec.to_json().replace('"photos":[]', f'"photos":[{{"file":"{file}","name":"x"}}]')
    with pytest.raises(InvalidRequest, match="photos"):
        TrainingSpec.from_json(text)
