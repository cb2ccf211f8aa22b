"""Runs as child processes of the trainer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from services.trainer.launcher import SAVED_AND_STOPPED, LaunchError, Run, RunState

_COMMAND = (sys.executable, "-m", "services.trainer.run")


class ProcessLauncher:
    """Starts ``python -m services.trainer.run <uid> <attempt>``.

    A child has a session of its own and outlives a trainer that is killed: the next one finds it by its lease.
    """

    def __init__(self, *, command: Sequence[str] = _COMMAND, environment: Mapping[str, str] | None = None) -> None:
        """Start ``command`` with ``environment`` beside this process's own."""
        self._command = tuple(command)
        self._environment = dict(environment or {})
        self._children: dict[Run, subprocess.Popen[bytes]] = {}

    def start(self, run: Run) -> None:
        """Start a run. Raises LaunchError."""
        if run in self._children:
            return
        try:
            self._children[run] = subprocess.Popen(
                [*self._command, run.uid, str(run.attempt)],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchError(f"the run's process could not be started: {error.strerror}") from error

    def state(self, run: Run) -> RunState:
        """Return whether the child runs; of another process's child nothing is known."""
        child = self._children.get(run)
        if child is None:
            return RunState.UNKNOWN
        status = child.poll()
        if status is None:
            return RunState.RUNNING
        del self._children[run]
        return RunState.STOPPED if status == SAVED_AND_STOPPED else RunState.ENDED

    def kill(self, run: Run) -> None:
        """Kill a child."""
        child = self._children.pop(run, None)
        if child is not None:
            child.kill()
            child.wait()

    def kill_all(self) -> None:
        """Kill all children."""
        for run in list(self._children):
            self.kill(run)

    def close(self, seconds: float) -> None:
        """Tell all children to save and stop; kill those that take longer than ``seconds``."""
        ends = time.monotonic() + seconds
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        for run in list(self._children):
            try:
                self._children[run].wait(max(0.0, ends - time.monotonic()))
                del self._children[run]
            except subprocess.TimeoutExpired:
                self.kill(run)
