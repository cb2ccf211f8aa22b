"""Runs the trainer: ``python -m services.trainer``."""

from __future__ import annotations

import sys

from core.runtime.server import run_service
from services.trainer.service import make_spec
from services.trainer.settings import TrainerSettings

if __name__ == "__main__":
    sys.exit(run_service(make_spec, TrainerSettings))
