"""What ships: small, and whole wherever the folder ``weights`` is copied to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import Qwen2Tokenizer, Qwen2VLProcessor

from core.qwen.checkpoint import find_weights
from core.qwen.profile import load_profile
from weights.recipe.architecture import build_processor

WEIGHTS = Path(__file__).parents[2] / "weights"
EDITOR = WEIGHTS / "miniature-edit"

pytestmark = pytest.mark.skipif(not EDITOR.exists(), reason="needs the editor's trained miniature")


def size(*folders: Path) -> int:
    """Bytes of the files in folders; what is linked counts where it is."""
    files = (file for folder in folders for file in folder.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def test_the_weights_that_ship_stay_small() -> None:
    generator, faces = WEIGHTS / "miniature", WEIGHTS / "faces"
    assert size(generator) < 28e6
    assert size(EDITOR) < 20e6
    assert size(generator, EDITOR, faces) < 60e6


def test_what_is_shared_leads_into_the_generators_folder_by_relative_links() -> None:
    links = {file.relative_to(EDITOR): file for file in EDITOR.rglob("*") if file.is_symlink()}
    assert {str(name.parent) for name in links} == {"vae", "text_encoder", "tokenizer"}
    for name, link in links.items():
        assert not link.readlink().is_absolute()
        assert link.resolve() == (WEIGHTS / "miniature" / name).resolve()


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_of_the_folders_is_whole(tmp_path: Path, links: bool) -> None:
    for name in ("miniature", "miniature-edit"):
        shutil.copytree(WEIGHTS / name, tmp_path / name, symlinks=links)
    if not links:
        shutil.rmtree(tmp_path / "miniature")
    assert find_weights(load_profile("miniature-edit"), weights_dir=tmp_path) == tmp_path / "miniature-edit"


def test_a_processor_hands_on_nothing_of_how_its_tokenizer_last_padded(tmp_path: Path) -> None:
    tokenizer = Qwen2Tokenizer.from_pretrained(WEIGHTS / "miniature" / "tokenizer")
    words = ["a woman", "a man with a beard in a café " * 20]
    tokenizer(words, padding="max_length", max_length=16, truncation=True)
    build_processor(tokenizer).save_pretrained(tmp_path)
    for folder in (tmp_path, EDITOR / "processor"):
        short, long = Qwen2VLProcessor.from_pretrained(folder)(text=words, padding=True)["attention_mask"]
        assert len(short) == len(long) == sum(long) > 88
        assert 0 < sum(short) < 10
