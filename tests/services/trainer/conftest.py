"""A trainer with a database, an artifact store, a LoRA registry and runs without a model."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.runtime.server import running_service
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.trainer_client import AsyncTrainerClient, TrainingPlan
from likeness.training import TrainingJob, TrainingSettings, TrainingState
from services.trainer.changes import ChangeRules
from services.trainer.database import Database
from services.trainer.job_store import NewJob
from services.trainer.process_launcher import ProcessLauncher
from services.trainer.records import StoredPhoto
from services.trainer.service import make_spec
from services.trainer.settings import TrainerSettings
from tests.support import postgres
from tests.support.services import FakeGenerator, running_generator
from tests.support.trainer_process import RUN_COMMAND
from tests.support.training_run import VARIABLE

DEADLINE_SECONDS = 30.0
RULES = ChangeRules(webhook_progress_seconds=30.0)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server."""
    if not postgres.is_installed():
        pytest.skip("no PostgreSQL is installed")
    with postgres.running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path}/trainer.db")
    else:
        made = Database(request.getfixturevalue("postgres_url"))
    made.create_tables()
    yield made
    made.drop_tables()
    made.close()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin at a round time."""
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time, seconds of the epoch."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def new_job(number: int = 1, *, tenant: str = "default", **fields: Any) -> NewJob:
    """Return a job to keep."""
    values = {"job_id": f"job-{number}", "character_id": "anna", "trigger_word": "ohwx", **fields}
    return NewJob(
        uid=f"{number:032x}",
        tenant_id=tenant,
        request=pb2.CreateTrainingJobRequest(**values),
        request_sha256=f"{number:064x}",
        photos=(StoredPhoto("artifact://a/b", "a.jpg", "caption"),),
        class_word="person",
    )


def photo(number: int = 0) -> bytes:
    """Return a picture of its own colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 48), (number * 20 % 256, 80, 120)).save(buffer, "PNG")
    return buffer.getvalue()


PHOTOS = tuple(map(photo, range(5)))


def plan(**fields: Any) -> TrainingPlan:
    """Return a small job."""
    values: dict[str, Any] = {
        "character_id": "anna",
        "trigger_word": "ohwx",
        "images": PHOTOS,
        "settings": TrainingSettings(steps=12, checkpoint_every=5),
        **fields,
    }
    return TrainingPlan(**values)


class RunFolder:
    """What runs may do, and what they did."""

    def __init__(self, path: Path) -> None:
        """Use a folder."""
        self.path = path
        path.mkdir(exist_ok=True)

    def allow(self, step: int) -> None:
        """Let runs come as far as a step."""
        temporary = self.path / "allowed.part"
        temporary.write_text(str(step))
        temporary.replace(self.path / "allowed")

    def steps(self) -> list[tuple[int, int]]:
        """Return process and number of each step that was done."""
        log = self.path / "steps.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    async def reached(self, step: int) -> int:
        """Wait until a step was done; return the process that did it."""
        found = await until(lambda: [pid for pid, done in self.steps() if done == step] or None)
        return int(found[-1])


async def until(condition: Callable[[], Any]) -> Any:
    """Return a condition's value once there is one: files and processes tell nobody when they change."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (value := condition()):
            await asyncio.sleep(0.02)
    return value


@dataclass
class RunningTrainer:
    """A trainer, and the generator that it publishes to."""

    client: AsyncTrainerClient
    generator: FakeGenerator
    runs: RunFolder
    settings: TrainerSettings
    address: str

    async def ended(self, job_id: str) -> TrainingJob:
        """Watch a job to its end."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for event in self.client.watch(job_id):
                if event.state.ended:
                    break
        return await self.client.get(job_id)

    async def in_state(self, job_id: str, state: TrainingState) -> None:
        """Watch a job until it is in a state."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for event in self.client.watch(job_id):
                if event.state == state:
                    return
        raise AssertionError(f"the job was never {state}")


def settings_for(tmp_path: Path, generator_address: str, **values: Any) -> dict[str, Any]:
    """Return the settings of a quick trainer in a folder."""
    return {
        "port": 0,
        "database_url": f"sqlite:///{tmp_path}/trainer.db",
        "work_dir": tmp_path / "runs",
        "artifacts_url": str(tmp_path / "artifacts"),
        "generator_address": generator_address,
        "poll_seconds": 0.05,
        "progress_seconds": 0.01,
        "retry_seconds": 0.0,
        "lease_seconds": 2.0,
        **values,
    }


@asynccontextmanager
async def serving_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **values: Any
) -> AsyncIterator[RunningTrainer]:
    """Serve a trainer and a generator; settings go to its runs by the environment."""
    runs = RunFolder(tmp_path / "control")
    monkeypatch.setenv(VARIABLE, str(runs.path))
    launcher, inspect = values.pop("launcher", None), values.pop("inspect", None)
    generator = FakeGenerator()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(running_generator(generator))
        chosen = settings_for(tmp_path, address, **values)
        for name, value in chosen.items():
            text = value if isinstance(value, str | int | float | Path) else "[]"
            if isinstance(value, frozenset):
                text = "[" + ",".join(f'"{item}"' for item in value) + "]"
            monkeypatch.setenv(f"LIKENESS_TRAINER_{name.upper()}", str(text))
        settings = TrainerSettings.load()
        spec = make_spec(settings, launcher=launcher or ProcessLauncher(command=RUN_COMMAND), inspect=inspect)
        trainer = await stack.enter_async_context(running_service(spec, settings))
        client = await stack.enter_async_context(AsyncTrainerClient(trainer))
        yield RunningTrainer(client, generator, runs, settings, trainer)


@pytest.fixture
async def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningTrainer]:
    """A trainer as it is by default."""
    async with serving_trainer(tmp_path, monkeypatch) as running:
        yield running
