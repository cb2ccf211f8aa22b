"""What the faceswap service refuses to be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runtime.settings import SettingsError
from services.faceswap.settings import FaceSwapSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"profile": "qwn"}, "no profile 'qwn': name one of miniature, qwen"),
        ({"profile_file": "nowhere.toml"}, "no profile 'nowhere.toml'"),
        ({"device": "cuda:0"}, "LIKENESS_FACESWAP_DEVICE=cpu"),
        ({"device": "gpu", "profile": "qwen"}, "no device: name cpu, cuda"),
    ],
)
def test_what_would_act_under_a_wrong_name_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FaceSwapSettings.load(**values)


def test_the_miniature_on_the_cpu_is_the_default() -> None:
    settings = FaceSwapSettings.load()
    assert (settings.profile, settings.device) == ("miniature", "cpu")
    assert settings.swap_profile.engines == ("mesh",)


def test_profile_with_networks_of_its_own_may_have_a_gpu() -> None:
    settings = FaceSwapSettings.load(profile="qwen", device="tensorrt:1")
    assert settings.swap_profile.engines == ("inswapper", "mesh")


def test_models_are_looked_for_beside_the_weights_unless_a_folder_is_named(tmp_path: Path) -> None:
    assert FaceSwapSettings.load(weights_dir=tmp_path).models_folder == tmp_path / "models"
    assert FaceSwapSettings.load(models_dir=tmp_path).models_folder == tmp_path
