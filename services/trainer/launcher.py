"""Launchers start runs somewhere and see whether they are still there. What a run does is in the database."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

SAVED_AND_STOPPED = 75
"""Exit status of a run that was told to stop and can be taken up again (EX_TEMPFAIL)."""


class LaunchError(Exception):
    """A run could not be started; the message says why."""


class RunState(enum.Enum):
    """What a launcher sees of a run."""

    PENDING = "pending"
    """It waits for its place."""
    RUNNING = "running"
    ENDED = "ended"
    STOPPED = "stopped"
    """It ended because it was told to, with its state saved."""
    UNKNOWN = "unknown"
    """The launcher can't tell; the run's lease does."""


@dataclass(frozen=True)
class Run:
    """One attempt at a job."""

    uid: str
    attempt: int


class Launcher(Protocol):
    """Starts and ends runs. All methods block; one thread calls them."""

    def start(self, run: Run) -> None:
        """Start a run; one that is there already stays. Raises LaunchError."""

    def state(self, run: Run) -> RunState:
        """Return what is seen of a run."""

    def kill(self, run: Run) -> None:
        """End a run at once; one that is gone is left alone."""

    def kill_all(self) -> None:
        """End at once the runs that this process has started itself; those of a cluster look after themselves."""

    def close(self, seconds: float) -> None:
        """Let go of all runs: those that can't outlive this process are told to stop, and killed after a while."""
