"""A measurement's file: written after every entry, so that what was measured survives what goes wrong later."""

from __future__ import annotations

import json
import os
import platform
import re
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine(*packages: str) -> dict[str, Any]:
    """Return what figures were measured on: processor, system, Python, and the versions of these packages."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*: (.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
        cpu = found[1] if found else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


class OutOfBudget(Exception):
    """The time for measuring is over."""


class Report:
    """What was measured; written to a file after every entry."""

    def __init__(self, file: Path, budget_seconds: float, **facts: Any) -> None:
        """Begin with ``facts``."""
        self._file = file
        self._began = time.monotonic()
        self._ends = self._began + budget_seconds
        self.document: dict[str, Any] = {**facts, "variants": {}, "left_out": []}

    def add(self, variant: str, name: str, value: Any) -> None:
        """Add a measurement."""
        self.document["variants"].setdefault(variant, {})[name] = value
        self.write()
        print(f"{variant}: {name}: {json.dumps(value)}", flush=True)

    def leave_out(self, what: str, reason: str) -> None:
        """Say that something was not measured."""
        self.document["left_out"].append({"what": what, "reason": reason})
        self.write()
        print(f"left out: {what}: {reason}", flush=True)

    def check_budget(self, needed_seconds: float = 0.0) -> None:
        """Raise OutOfBudget when less than ``needed_seconds`` are left."""
        if time.monotonic() + needed_seconds > self._ends:
            raise OutOfBudget

    def attempt(self, variant: str, name: str, measure: Callable[[], Any], *, needed_seconds: float = 0.0) -> bool:
        """Add what ``measure`` returns, or say why it is left out: no time is left, or it failed.

        A failure is told and does not end the run. Returns whether it was measured.
        """
        what = f"{variant}: {name}"
        try:
            self.check_budget(needed_seconds)
            self.add(variant, name, measure())
        except OutOfBudget:
            self.leave_out(what, "the budget is spent")
        except Exception as error:
            traceback.print_exc()
            # Frames keep tensors alive, and after a lack of memory these are what the next one needs.
            traceback.clear_frames(error.__traceback__)
            self.leave_out(what, f"{type(error).__name__}: {str(error).strip()[:500]}")
        else:
            return True
        return False

    def write(self) -> None:
        """Write the file; a process that is killed meanwhile leaves the one before."""
        self.document["seconds"] = round(time.monotonic() - self._began, 1)
        part = self._file.with_name(self._file.name + ".part")
        part.write_text(json.dumps(self.document, indent=2) + "\n", encoding="utf-8")
        part.replace(self._file)
