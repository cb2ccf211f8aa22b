from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from core.faces import FaceAnalyser
from core.runtime.images import encode_image
from core.training.settings import change_settings, default_settings
from core.training.spec import Photo, PhotoFile, TrainingSpec
from tests.support.checkpoint import build_checkpoint, write_profile
from weights.recipe.draw import draw
from weights.recipe.people import Person, sample_person, sample_shot

WEIGHTS = Path(__file__).parents[3] / "weights"
SMALL = {
    "dataset": {"min_photos": 3, "framings": ["whole"]},
    "hyperparameters": {
        "steps": 4,
        "batch_size": 2,
        "rank": 4,
        "warmup_steps": 1,
        "checkpoint_every": 2,
        "resolutions": [{"side": 160}],
    },
    "evaluation": {"every": 2, "from_step": 0, "side": 160, "prompts": ["{subject} in an office", "{subject} outside"]},
}
"""A run that takes seconds."""

DrawPerson = Callable[[int, int], list[npt.NDArray[np.uint8]]]
MakeSpec = Callable[..., TrainingSpec]


def invented_person(number: int) -> Person:
    return sample_person(np.random.default_rng((77, number)))


def shots_of(number: int, count: int, *, first: int = 0, size: int = 256) -> list[npt.NDArray[np.uint8]]:
    """Draw an invented person; picture ``k`` depends on the person, ``first + k`` and the size alone."""
    person = invented_person(number)
    generators = [np.random.default_rng((78, number, first + k)) for k in range(count)]
    return [draw(person, sample_shot(generator, person), (size, size)) for generator in generators]


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def analyser() -> FaceAnalyser:
    return FaceAnalyser()


@pytest.fixture(scope="session")
def one_person() -> list[npt.NDArray[np.uint8]]:
    return shots_of(1, 10)


@pytest.fixture(scope="session")
def another_person() -> list[npt.NDArray[np.uint8]]:
    return shots_of(0, 5)


@pytest.fixture(scope="session")
def photos(one_person: list[npt.NDArray[np.uint8]]) -> list[Photo]:
    return [Photo(f"shot {k}", rgb) for k, rgb in enumerate(one_person)]


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A profile over a checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("base")
    return str(write_profile(build_checkpoint(folder / "checkpoint"), folder / "miniature.toml"))


@pytest.fixture(scope="session")
def make_spec(profile: str) -> MakeSpec:
    def make(changes: dict[str, object] | None = None, **fields: object) -> TrainingSpec:
        settings = change_settings(change_settings(default_settings(profile), SMALL), changes or {})
        values: dict[str, object] = {
            "job_id": "job",
            "character_id": "mia",
            "trigger_word": "ohwx",
            "profile": profile,
            "weights_dir": str(WEIGHTS),
            "threads": 1,
        }
        return TrainingSpec(settings=settings, **{**values, **fields})  # type: ignore[arg-type]

    return make


def write_photos(workdir: Path, pictures: list[npt.NDArray[np.uint8]]) -> tuple[PhotoFile, ...]:
    """Put photos where a run looks for them."""
    (workdir / "photos").mkdir(parents=True, exist_ok=True)
    for place, rgb in enumerate(pictures):
        (workdir / f"photos/{place:04d}.png").write_bytes(encode_image(rgb).data)
    return tuple(PhotoFile(file=f"photos/{place:04d}.png", name=f"shot {place}") for place in range(len(pictures)))
