"""How many threads a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.runtime.threads import cpu_count

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", CORES),
        ("50000 100000", 1),
        ("150000 100000", min(CORES, 2)),
        ("9900000 100000", CORES),
        ("", CORES),
    ],
)
def test_a_version_2_quota_limits_the_cores(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cpu_count(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", CORES), ("100000", 1), ("1000", 1)])
def test_a_version_1_quota_limits_the_cores(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu_count(tmp_path) == expected


def test_without_a_cgroup_all_cores_count(tmp_path: Path) -> None:
    assert cpu_count(tmp_path) == CORES
