from __future__ import annotations

from pathlib import Path

import pytest

from core.faces import FaceAnalyser, ModelFileError
from core.faces.providers import Execution
from core.runtime.profiles import ProfileError
from services.faceswap.loading import load_models
from services.faceswap.profile import MESH_ALONE, load_swap_profile

FILE = 'file = "a.onnx"\nsource = "here"\nlicence = "free"\n'
INSWAPPER = f"[inswapper.network]\n{FILE}[inswapper.embedder]\n{FILE}"


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


def test_shipped_miniature_needs_no_files() -> None:
    profile = load_swap_profile("miniature")
    assert profile == MESH_ALONE
    assert not profile.needs_files


def test_shipped_qwen_pins_every_file_by_size_and_digest() -> None:
    profile = load_swap_profile("qwen")
    assert profile.engines == ("inswapper", "mesh")
    assert profile.inswapper is not None
    files = [profile.inswapper.network, profile.inswapper.embedder, profile.inswapper.detector]
    for entry in [*files, *(restorer.network for restorer in profile.restorers)]:
        assert entry is not None
        assert entry.size_bytes and entry.sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "own"\nengines = []', "engines"),
        ('name = "own"\nengines = ["mesh", "mesh"]', "names one twice"),
        ('name = "own"\nengines = ["simswap"]', "'mesh' or 'inswapper'"),
        ('name = "own"\nengines = ["inswapper"]', "go together"),
        (f'name = "own"\nengines = ["mesh"]\n{INSWAPPER}', "go together"),
        ('name = "own"\nengines = ["mesh"]\nrestorer = 1', "restorer: .*[Uu]nexpected"),
        (f'name = "own"\nengines = ["inswapper"]\n{INSWAPPER}sha256 = "abc"', "sha256"),
        ("name = ", "own.toml"),
        (
            'name = "own"\nengines = ["mesh"]\n'
            + 2 * f'[[restorers]]\nname = "one"\nkind = "onnx"\n[restorers.network]\n{FILE}',
            "share a name",
        ),
    ],
)
def test_profile_that_makes_no_sense_is_refused_with_the_entry(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_swap_profile(write(tmp_path, text))


def test_missing_file_is_named_with_its_source_and_licence_before_anything_is_loaded(
    analyser: FaceAnalyser, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match=r"inswapper_128\.onnx.*Gourieff/ReActor.*non-commercial"):
        load_models(load_swap_profile("qwen"), analyser, tmp_path, Execution())


def test_every_file_is_looked_at_before_the_first_is_loaded(analyser: FaceAnalyser, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model at all")
    later = '[[restorers]]\nname = "one"\nkind = "onnx"\n[restorers.network]\n' + FILE.replace("a.onnx", "gone.onnx")
    profile = load_swap_profile(write(tmp_path, f'name = "own"\nengines = ["inswapper"]\n{INSWAPPER}{later}'))
    with pytest.raises(ModelFileError, match=r"gone\.onnx"):
        load_models(profile, analyser, tmp_path, Execution())
