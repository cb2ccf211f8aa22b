"""The shipped miniature learns an invented person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from core.runtime.cancellation import CancelToken
from core.training.run import run_training
from core.training.settings import change_settings, default_settings
from core.training.spec import TrainingSpec
from tests.core.training.conftest import WEIGHTS, write_photos

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "miniature" / "model_index.json").exists(), reason="the miniature is not trained yet"
)


def test_seventy_steps_make_pictures_clearly_more_like_held_out_photos_and_keep_the_scenes(
    one_person: list[npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    settings = change_settings(
        default_settings("miniature"),
        {
            "class_word": "woman",
            "hyperparameters": {"steps": 70, "warmup_steps": 4, "checkpoint_every": 70},
            "evaluation": {"every": 0, "from_step": 0},
        },
    )
    spec = TrainingSpec(
        job_id="job",
        character_id="mia",
        trigger_word="ohwx",
        photos=write_photos(tmp_path, one_person),
        settings=settings,
        weights_dir=str(WEIGHTS),
    )
    result = run_training(spec, tmp_path, lambda _: None, CancelToken())
    best = result.ranking[0]
    assert result.references_held_out
    assert best.identity > result.base.identity + 0.1
    assert best.adherence > 0.65 and best.copies == 0 and best.one_face == 1
    assert result.last_loss < result.first_loss
