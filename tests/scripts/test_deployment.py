from __future__ import annotations

from collections.abc import Mapping

import pytest

from scripts import deployment
from scripts.supervisor import Supervisor


def test_all_processes_get_the_same_artifact_store(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder(Supervisor):
        """Keeps what it is told to start."""

        def __init__(self) -> None:
            super().__init__(lambda name, line: None)
            self.told: dict[str, Mapping[str, str | int | float]] = {}

        def start(self, name: str, settings: Mapping[str, str | int | float]) -> None:
            self.told[name] = settings

        def address_of(self, name: str, timeout_seconds: float) -> str:
            return f"127.0.0.1:{self.told[name]['port']}"

    monkeypatch.setenv("LIKENESS_ARTIFACTS_URL", "/srv/pictures")
    monkeypatch.setattr(deployment, "has_editor", lambda: True)
    recorder = Recorder()
    assert deployment.start_all(recorder, gateway_port=1, generator_port=2, faceswap_port=3) == "127.0.0.1:1"
    assert list(recorder.told) == ["generator", "faceswap", "gateway"]
    deployment.start_all(recorder, gateway_port=1, generator_port=2, faceswap_port=3, trainer_port=4)
    assert {settings["artifacts_url"] for settings in recorder.told.values()} == {"/srv/pictures"}
    assert recorder.told["trainer"]["generator_address"] == "127.0.0.1:2"
    assert recorder.told["gateway"]["trainer_address"] == "127.0.0.1:4"
    deployment.start_all(recorder, gateway_port=1, generator_port=2, faceswap_port=3, editor_port=5)
    assert recorder.told["editor"]["artifacts_url"] == "/srv/pictures"
    assert recorder.told["gateway"]["editor_address"] == "127.0.0.1:5"
    monkeypatch.setattr(deployment, "has_editor", lambda: False)
    without = Recorder()
    deployment.start_all(without, gateway_port=1, generator_port=2, faceswap_port=3, editor_port=5)
    assert list(without.told) == ["generator", "faceswap", "gateway"]
    assert "editor_address" not in without.told["gateway"]
