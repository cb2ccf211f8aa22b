"""How many threads this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cpu_count(cgroup: Path = _CGROUP) -> int:
    """Return the number of cores that this process may use, at least 1.

    The least of the scheduler's affinity and the cgroup's CPU quota (version 2, then 1), rounded up: a container with
    a quota of 1.5 cores gets 2.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, cores if quota is None else min(cores, -(-quota[0] // quota[1])))


def _quota(cgroup: Path) -> tuple[int, int] | None:
    """Return the cgroup's quota and period in microseconds, None when it has none or cannot be read."""
    try:
        quota, _, period = (cgroup / "cpu.max").read_text().partition(" ")
    except OSError:
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        pair = int(quota), int(period)
    except ValueError:  # "max": no limit
        return None
    return pair if min(pair) > 0 else None
