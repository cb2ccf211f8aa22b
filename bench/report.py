"""A measurement's file: written after every entry, so that what was measured survives what goes wrong later."""

from __future__ import annotations

import json
import os
import platform
import re
import time
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
        self._ends = time.monotonic() + budget_seconds
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

    def check_budget(self) -> None:
        """Raise OutOfBudget when the time is over."""
        if time.monotonic() > self._ends:
            raise OutOfBudget

    def write(self) -> None:
        """Write the file."""
        self._file.write_text(json.dumps(self.document, indent=2) + "\n", encoding="utf-8")
