"""What the faceswap service refuses to be told."""

from __future__ import annotations

import pytest

from core.runtime.settings import SettingsError
from services.faceswap.settings import FaceSwapSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"profile": "qwn"}, "profile: .*'miniature' or 'qwen'"),
        ({"profile": "qwen"}, r"inswapper_128\.onnx.*GFPGANv1\.4.*LIKENESS_FACESWAP_PROFILE"),
        ({"device": "cuda:0"}, "LIKENESS_FACESWAP_DEVICE=cpu"),
    ],
)
def test_what_would_act_under_a_wrong_name_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FaceSwapSettings.load(**values)


def test_the_miniature_on_the_cpu_is_the_default() -> None:
    settings = FaceSwapSettings.load()
    assert (settings.profile, settings.device) == ("miniature", "cpu")
