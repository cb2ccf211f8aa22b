"""The folder of a job's runs: whoever works there holds it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from likeness.errors import Conflict

LOCK_FILE = "lock"
"""In a run's folder: the file that is locked."""


class FolderHeld(Conflict):
    """Another one works in a job's folder: trying again shortly makes sense."""


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Hold a folder, as runs do: nobody then writes into it, or removes it.

    Where it has no lock file no run has come yet, or another call is removing it; then there is nothing to hold.

    Raises:
        FolderHeld: a run or another call holds it.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            file = stack.enter_context((folder / LOCK_FILE).open("r+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderHeld(
                    "job_id: its run, or another call, still works on it; try again shortly", field="job_id"
                ) from None
        yield
