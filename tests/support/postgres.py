"""A real PostgreSQL in a folder, on a socket of its own; for machines that have one installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres"


def is_installed() -> bool:
    """Return whether this machine has PostgreSQL, and a user that may run it: it refuses to be run by root."""
    return all(map(shutil.which, ("initdb", "pg_ctl"))) and (os.geteuid() != 0 or shutil.which("runuser") is not None)


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server and yield the URL of a database of it."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        if os.geteuid() == 0:
            shutil.chown(root, _USER)
        data = root / "data"
        _run("initdb", "-D", str(data), "-U", _USER, "-A", "trust", "-N")
        settings = f"-c listen_addresses='' -k {root} -c fsync=off"
        _run("pg_ctl", "-D", str(data), "-o", settings, "-l", str(root / "log"), "-w", "start")
        try:
            yield f"postgresql://{_USER}@/postgres?host={root}"
        finally:
            _run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def _run(*command: str) -> None:
    prefix = ("runuser", "-u", _USER, "--") if os.geteuid() == 0 else ()
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")
