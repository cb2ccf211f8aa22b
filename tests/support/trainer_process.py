"""The trainer as a process, whose runs are those of `tests.support.training_run`."""

from __future__ import annotations

import sys

from core.runtime.server import run_service
from services.trainer.process_launcher import ProcessLauncher
from services.trainer.service import make_spec
from services.trainer.settings import TrainerSettings

RUN_COMMAND = (sys.executable, "-m", "tests.support.training_run")

if __name__ == "__main__":
    sys.exit(
        run_service(
            lambda settings: make_spec(settings, launcher=ProcessLauncher(command=RUN_COMMAND)), TrainerSettings
        )
    )
