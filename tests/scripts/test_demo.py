from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.supervisor import ROOT

WEIGHTS = ROOT / "weights" / "miniature" / "model_index.json"


@pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the trained miniature")
def test_the_demo_leaves_a_picture_and_a_sheet_and_no_process(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--mode", "fast", "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "LIKENESS_ARTIFACTS_URL": str(tmp_path / "artifacts")},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with Image.open(tmp_path / "demo.png") as picture, Image.open(tmp_path / "demo-sheet.png") as sheet:
        assert picture.size == (256, 256)
        assert sheet.width > sheet.height
    assert len(re.findall(r"identity -?\d", ended.stderr)) == 3
    address = re.search(r"http://127\.0\.0\.1:(\d+)", ended.stderr)
    assert address is not None
    assert not _listens(int(address[1]))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
