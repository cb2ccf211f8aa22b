"""GFPGAN's own checkpoint format, with a narrow network of its architecture and random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.faces import FaceAnalyser, ModelFileError
from core.faces.providers import Execution
from core.runtime.cancellation import CancelToken
from services.faceswap.loading import load_models
from services.faceswap.outcome import SwapChoices
from services.faceswap.profile import load_swap_profile
from services.faceswap.references import ReferencePicture
from services.faceswap.restoration.gfpgan_restorer import GfpganMissing, GfpganRestorer, _import_architecture
from services.faceswap.restoration.stage import RestorationChoice
from services.faceswap.swapper import FaceSwapper
from tests.support.faces import drawn, portrait

try:
    ARCHITECTURE = _import_architecture()
except GfpganMissing:
    ARCHITECTURE = None

torch = pytest.importorskip("torch")
with_gfpgan = pytest.mark.skipif(ARCHITECTURE is None, reason="the extra gfpgan is not installed")
GONE = "torchvision.transforms.functional_tensor"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GFPGAN an eighth as wide, with weights that draw something."""
    torch.manual_seed(0)
    network = ARCHITECTURE(
        out_size=512,
        num_style_feat=64,
        channel_multiplier=2,
        fix_decoder=False,
        num_mlp=2,
        input_is_latent=True,
        different_w=True,
        narrow=0.125,
        sft_half=True,
    )
    path = tmp_path_factory.mktemp("gfpgan") / "GFPGANv1.4.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    return path


@with_gfpgan
def test_checkpoint_draws_what_the_packages_network_draws(checkpoint: Path) -> None:
    restorer = GfpganRestorer("gfpgan-1.4", checkpoint, Execution(threads=1))
    crop = np.random.default_rng(0).random((512, 512, 3)).astype(np.float32)
    drawn = restorer.restore(crop, 0.5)
    assert drawn.shape == (512, 512, 3)
    assert drawn.std() > 0.01
    assert np.array_equal(restorer.restore(crop, 0.5), drawn)
    assert restorer.provider == "torch:cpu"

    network = ARCHITECTURE(
        512, num_style_feat=64, channel_multiplier=2, fix_decoder=False, num_mlp=2, input_is_latent=True,
        different_w=True, narrow=0.125, sft_half=True,
    )  # fmt: skip
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["params_ema"])
    with torch.no_grad():
        given = torch.from_numpy(crop).permute(2, 0, 1)[None] * 2 - 1
        theirs, _ = network.eval()(given, return_rgb=False, randomize_noise=False)
    expected = np.clip((theirs[0].permute(1, 2, 0).numpy() + 1) / 2, 0, 1)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)


@with_gfpgan
def test_import_leaves_no_stand_in_behind() -> None:
    assert GONE not in sys.modules


@with_gfpgan
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": {}}, "neither 'params_ema' nor 'params'"),
        ({"params": {"conv.weight": 1}}, "not a checkpoint of GFPGAN"),
        ([1, 2], "neither 'params_ema' nor 'params'"),
    ],
)
def test_checkpoint_of_something_else_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ModelFileError, match=message):
        GfpganRestorer("gfpgan-1.4", path, Execution())


class Harmful:
    """What a pickle may hold, and weights may not."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Harmful, "ran", True)


@with_gfpgan
def test_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "harmful.pth"
    torch.save({"params_ema": Harmful()}, path)
    with pytest.raises(ModelFileError, match="cannot be read as a PyTorch checkpoint of weights"):
        GfpganRestorer("gfpgan-1.4", path, Execution())
    assert not Harmful.ran


@with_gfpgan
def test_checkpoint_with_a_layer_missing_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = torch.load(checkpoint, weights_only=True)
    weights["params_ema"].pop("final_conv.weight")
    torch.save(weights, tmp_path / "short.pth")
    with pytest.raises(ModelFileError, match=r"short\.pth is not a checkpoint of GFPGAN.*final_conv"):
        GfpganRestorer("gfpgan-1.4", tmp_path / "short.pth", Execution())


@with_gfpgan
def test_profile_with_the_checkpoint_restores_what_the_mesh_engine_swapped(
    checkpoint: Path, tmp_path: Path, analyser: FaceAnalyser
) -> None:
    profile = tmp_path / "own.toml"
    profile.write_text(
        'name = "own"\nengines = ["mesh"]\n[[restorers]]\nname = "gfpgan-1.4"\nkind = "gfpgan"\n'
        f'[restorers.network]\nfile = "{checkpoint}"\nsource = "the test"\nlicence = "none"\n'
    )
    loaded = load_models(load_swap_profile(str(profile)), analyser, tmp_path, Execution(threads=1))
    swapper = FaceSwapper(analyser, loaded.engines, restorers=loaded.restorers)
    picture = ReferencePicture(portrait(), "reference_image", "reference_face_index")
    outcomes = [
        swapper.swap(drawn(2), [picture], SwapChoices(restoration=RestorationChoice(wanted=wanted)), CancelToken())
        for wanted in (False, True)
    ]
    assert [outcome.restorer for outcome in outcomes] == ["", "gfpgan-1.4"]
    shown = outcomes[1].swapped[0].restore_visibility
    assert shown is not None
    # Random weights draw no face: the identity guard lets little of it through, or nothing.
    assert shown < 1
    changed = not np.array_equal(outcomes[0].image, outcomes[1].image)
    assert changed == (shown > 0)


@pytest.mark.skipif(ARCHITECTURE is not None, reason="the extra gfpgan is installed")
def test_missing_package_is_named_with_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(GfpganMissing, match=r"pip install 'likeness\[gfpgan\]'.*ONNX export"):
        GfpganRestorer("gfpgan-1.4", tmp_path / "GFPGANv1.4.pth", Execution())
