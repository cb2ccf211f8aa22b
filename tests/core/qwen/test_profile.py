from __future__ import annotations

from pathlib import Path

import pytest

from core.qwen.profile import PROFILES_FOLDER, load_profile
from core.runtime.profiles import ProfileError

SHIPPED = ("miniature", "qwen")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profile_has_both_modes_and_every_aspect_ratio(name: str) -> None:
    profile = load_profile(name)
    assert [mode.name for mode in profile.modes] == ["full", "fast"]
    assert list(profile.sizes.by_aspect_ratio) == ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]


def test_qwen_has_the_numbers_of_the_model_card() -> None:
    profile = load_profile("qwen")
    full = profile.modes[0]
    assert (full.steps, full.true_cfg_scale) == (50, 4.0)
    assert full.negative_prompt.startswith("低分辨率")
    size = profile.sizes.by_aspect_ratio["16:9"]
    assert (size.width, size.height) == (1664, 928)
    assert profile.precision.cuda == "bfloat16"


@pytest.mark.parametrize("name", SHIPPED)
def test_hub_weights_are_pinned_to_a_commit(name: str) -> None:
    profile = load_profile(name)
    for source in (profile.weights, *(mode.lora for mode in profile.modes)):
        if source is not None and source.repository is not None:
            assert source.revision is not None
            assert len(source.revision) == 40


@pytest.mark.parametrize("name", SHIPPED)
def test_fast_mode_binds_lora_steps_and_guidance(name: str) -> None:
    fast = load_profile(name).modes[1]
    assert fast.lora is not None
    assert (fast.steps, fast.true_cfg_scale, fast.adjustable) == (4, 1.0, False)


def test_a_profile_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    text = (PROFILES_FOLDER / "qwen.toml").read_text(encoding="utf-8").replace('name = "qwen"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert load_profile(str(tmp_path / "mine.toml")).name == "mine"


def test_unknown_profile_names_the_shipped_ones() -> None:
    with pytest.raises(ProfileError, match="miniature, miniature-edit, qwen, qwen-edit"):
        load_profile("gigantic")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('revision = "25468b98e3276ca6700de15c6628e51b7de54a26"', "", "revision"),
        ("max_count = 8", "max_count = 8\nmax_coutn = 8", "max_coutn"),
        ("steps = 50", "steps = 0", "modes.0.steps"),
        ("true_cfg_scale = 4.0", "true_cfg_scale = nan", "modes.0.true_cfg_scale"),
        ('name = "fast"', 'name = "full"', "share a name"),
        ("{ width = 928, height = 1664 }", "{ width = 929, height = 1664 }", "9:16"),
        ('cuda = "bfloat16"', 'cuda = "float16"', "precision.cuda"),
        ("cuda = 4_096", "cuda = -1", "batch_tokens.cuda"),
        ('repository = "Qwen/Qwen-Image-2512"\n', "", "folder or a repository"),
        ("max_count = 8", "max_count = ", "line"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = (PROFILES_FOLDER / "qwen.toml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "wrong.toml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProfileError, match=told):
        load_profile(str(file))
