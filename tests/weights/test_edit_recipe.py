from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from core.qwen.editing.words import encode_instruction
from core.qwen.loading import load_model
from core.qwen.profile import load_profile
from tests.support.checkpoint import build_checkpoint
from weights.recipe import edit_pairs, train_edit
from weights.recipe.edit_encoder import EditEncoder, build_form, patches_of
from weights.recipe.edit_pairs import VISION_SIDE
from weights.recipe.edit_pairs_words import WORDINGS
from weights.recipe.learner import Learner
from weights.recipe.sampling import pack
from weights.recipe.train_edit_data import prepare_edits, prepare_pictures, reference_tokens, token_weights
from weights.recipe.train_edit_denoiser import build_models, noised
from weights.recipe.train_edit_denoiser import train_edit as train_transformer
from weights.recipe.train_edit_folder import link_shared, start_from
from weights.recipe.train_edit_model import EditTransformer
from weights.recipe.train_edit_state import load_state, save_state
from weights.recipe.train_edit_vision import NAMES, labelled_pictures, train_vision

TEXTS = ("The person of Picture 1 on the beach", "Change nothing")
SESSIONS = 4


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator's checkpoint of two blocks."""
    torch.set_num_threads(1)
    return build_checkpoint(tmp_path_factory.mktemp("generator") / "miniature")


@pytest.fixture(scope="module")
def pipeline(generator: Path) -> QwenImageEditPlusPipeline:
    return start_from(generator)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small sessions, of one person and of two."""
    folder = tmp_path_factory.mktemp("drawn")
    edit_pairs.main(["--out", str(folder), "--count", str(SESSIONS), "--size", "64", "--seed", "1"])
    return folder


def small_pictures(count: int, images: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, images, VISION_SIDE, VISION_SIDE, 3), generator=generator, dtype=torch.uint8)


def test_patches_are_those_of_the_image_processor(pipeline: QwenImageEditPlusPipeline) -> None:
    picture = small_pictures(1, 1)[0]
    processor = pipeline.processor.image_processor
    theirs = processor(images=[Image.fromarray(picture[0].numpy())], return_tensors="pt").pixel_values
    ours = patches_of(picture, processor.image_mean, processor.image_std)[0]
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("images", [1, 2])
def test_the_batched_encoder_computes_what_the_service_computes(
    pipeline: QwenImageEditPlusPipeline, images: int
) -> None:
    pictures = small_pictures(len(TEXTS), images)
    form = build_form(pipeline, TEXTS, images)
    with torch.no_grad():
        states, mask = EditEncoder(pipeline)(form, torch.arange(len(TEXTS)), pictures)
        for row, text in enumerate(TEXTS):
            seen = [Image.fromarray(picture.numpy()) for picture in pictures[row]]
            alone = encode_instruction(pipeline, text, seen).states[0]
            length = int(mask[row].sum())
            assert length == len(alone)
            assert torch.allclose(states[row, :length], alone, atol=1e-4)


@pytest.mark.parametrize("images", [1, 2])
def test_the_batched_transformer_computes_what_the_service_computes(
    pipeline: QwenImageEditPlusPipeline, images: int
) -> None:
    torch.manual_seed(0)
    x, references, sigma = torch.randn(2, 16, 64), torch.randn(2, 16 * images, 64), torch.tensor([0.3, 0.9])
    states, mask = torch.randn(2, 8, 192), torch.ones(2, 8, dtype=torch.bool)
    mask[1, 5:] = False
    transformer = pipeline.transformer.eval()
    with torch.no_grad():
        theirs = transformer(
            hidden_states=torch.cat([x, references], dim=1),
            timestep=sigma,
            encoder_hidden_states=states,
            encoder_hidden_states_mask=mask,
            img_shapes=[[(1, 4, 4)] * (1 + images)] * 2,
            return_dict=False,
        )[0][:, :16]
        model = EditTransformer(transformer, shape=(8, 8), references=images, text_tokens=8)
        ours = model(x, references, sigma, states, mask)
        elsewhere = model(x, references.flip(0), sigma, states, mask)
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(elsewhere, ours, atol=1e-4)


def test_a_session_depends_on_its_number_alone() -> None:
    one, other = (edit_pairs.sample_session(3, 5, (64, 64)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))
    assert one.edits == other.edits


def test_edits_keep_the_person_and_change_what_they_say() -> None:
    kinds = set()
    for index in range(16):
        session = edit_pairs.sample_session(7, index, (48, 48))
        for edit in session.edits:
            kinds.add(edit.kind)
            assert len(edit.instructions) == WORDINGS
            people = [session.seen[place][0] for place in edit.references]
            after = session.seen[edit.target]
            assert [who.seed for who, _ in people] == [who.seed for who, _ in after]
            (before_person, before), (after_person, shot) = people[0], after[0]
            same = np.array_equal(session.pictures[edit.references[0]], session.pictures[edit.target])
            assert same == (edit.kind == "nothing")
            if edit.kind in ("scene", "together"):
                assert (before.clothes, before.clothes_colour) == (shot.clothes, shot.clothes_colour)
                assert before_person == after_person
            elif edit.kind == "background":
                assert dataclasses.replace(before, scene=shot.scene) == shot
                assert before.scene != shot.scene
            elif edit.kind == "colour":
                changed = shot.clothes_colour if before_person == after_person else after_person.hair_colour
                assert all(changed in text for text in edit.instructions)
    assert kinds == {*edit_pairs.SHARES, "together"}


def test_drawing_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--count", "2", "--size", "64", "--workers", "2"]
    edit_pairs.main(arguments)
    first, second = sorted(tmp_path.glob("*.npz"))
    kept, whole = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    edit_pairs.main(arguments)
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == whole


def test_all_edits_are_prepared_with_their_own_pictures_and_words(
    pipeline: QwenImageEditPlusPipeline, drawn: Path
) -> None:
    pictures = prepare_pictures(pipeline, drawn)
    groups = prepare_edits(pipeline, pictures)
    edits = [(place, edit) for place, row in enumerate(pictures.rows) for edit in row["edits"]]
    assert len(pictures.latents) == 3 * SESSIONS
    for group in groups:
        own = [(place, edit) for place, edit in edits if len(edit["references"]) == group.images]
        assert len(group) == len(own)
        row = len(own) - 1
        session, edit = own[row]
        assert group.references[row].tolist() == [3 * session + place for place in edit["references"]]
        seen = [Image.fromarray(pictures.small[place]) for place in group.references[row].tolist()]
        with torch.no_grad():
            for place, text in ((row * WORDINGS + 1, edit["instructions"][1]), (len(own) * WORDINGS + row, " ")):
                alone = encode_instruction(pipeline, text, seen).states[0]
                length = int(group.mask[place].sum())
                assert torch.allclose(group.states[place, :length].float(), alone, atol=0.05)
                assert length == len(alone)
        assert (group.states.shape[1]) % 8 == 0


def test_faces_weigh_more() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]], [[0.0, 0.0, 0.5, 0.5], [0.0] * 4]])
    both, one = token_weights(boxes, (8, 8)).view(2, 4, 4)
    assert float(both.mean()) == pytest.approx(1)
    assert float(both[0, 0]) == float(both[3, 3]) > float(both[0, 3])
    assert float(one[0, 0]) > float(one[3, 3]) == float(one[0, 3])


def test_a_bridged_path_leads_from_the_noised_source_to_the_target() -> None:
    torch.manual_seed(0)
    target, source = torch.full((512, 4, 64), 1.0), torch.full((512, 4, 64), -1.0)
    noisy, velocity, sigma = noised(target, source, bridged=True)
    level = sigma.view(-1, 1, 1)
    assert torch.allclose(noisy - level * velocity, target, atol=1e-4)
    plain, straight, at = noised(target, source, bridged=False)
    # What is left beside the target's share is noise alone, of mean 0.
    assert abs(float((plain - (1 - at.view(-1, 1, 1)) * target).mean())) < 0.02
    assert abs(float((noisy - (1 - level) * target).mean())) > 0.02
    assert torch.allclose(plain - at.view(-1, 1, 1) * straight, target, atol=1e-4)


def test_the_vision_tower_learns_through_a_language_model_that_rests(
    pipeline: QwenImageEditPlusPipeline, drawn: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in pipeline.text_encoder.state_dict().items()}
    told = train_vision(pipeline, labelled_pictures(drawn), seconds=100, steps=3, batch=4, seed=0)
    after = pipeline.text_encoder.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed
    assert all("visual" in name for name in changed)
    assert told.keys() == {*NAMES, "numbers"}


def test_a_cut_training_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    def learner() -> tuple[torch.nn.Linear, Learner]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, Learner(list(layer.parameters()), beta2=0.98)

    def step(layer: torch.nn.Linear, one: Learner) -> None:
        one.step(layer(torch.ones(1, 3)).square().sum(), rate=0.1, average=0.5)

    (whole, first), (part, second) = learner(), learner()
    for _ in range(2):
        step(whole, first)
    step(part, second)
    save_state(second, tmp_path / "state.safetensors", step=1, spent=0.25)
    other, third = learner()
    assert load_state(third, tmp_path / "state.safetensors") == (1, 0.25)
    step(other, third)
    assert torch.equal(other.weight, whole.weight)
    assert torch.equal(third.averages[0], first.averages[0])


def test_training_publishes_averages_and_goes_on_from_its_state(
    pipeline: QwenImageEditPlusPipeline, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weights.recipe.train_edit_denoiser.KEEP_EVERY_SECONDS", 0.0)
    pictures = prepare_pictures(pipeline, drawn)
    groups = prepare_edits(pipeline, pictures)
    published: list[int] = []
    state = tmp_path / "state.safetensors"
    options: dict[str, Any] = {"seconds": 1000.0, "batch": 2, "rate": 1e-3, "seed": 0, "state": state}
    for steps in (2, 3):
        train_transformer(
            pipeline.transformer, pictures, groups, steps=steps,
            publish=lambda averages: published.append(len(averages)), **options,
        )  # fmt: skip
    # The clock is read every tenth step.
    assert published == [len(list(pipeline.transformer.parameters()))] * 20
    with safe_open(state, "pt") as stored:
        assert stored.metadata()["step"] == "20"


def test_all_stages_in_a_row_write_what_the_service_loads(generator: Path, drawn: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out" / "miniature-edit", tmp_path / "work"
    generator = shutil.copytree(generator, tmp_path / "out" / "miniature")
    language = load_file(generator / "text_encoder" / "model.safetensors")
    common = ["--data", str(drawn), "--from", str(generator), "--work", str(work), "--out", str(out)]
    train_edit.main(["vision", *common, "--steps", "2", "--batch", "2"])
    fast = ["--fast-seconds", "100", "--fast-batch", "2", "--paths", "2", "--teacher-steps", "4"]
    train_edit.main(["train", *common, "--steps", "2", "--batch", "2", *fast])
    sheet = tmp_path / "sheet.png"
    train_edit.main(["sheet", *common, "--file", str(sheet), "--teacher-steps", "4", "--each", "1"])
    with Image.open(sheet) as picture:
        assert picture.width == 7 * 64

    # What is shared is a link, and the generator's text encoder has got the vision tower alone.
    files = [file for file in out.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in files) < 20e6
    merged = load_file(generator / "text_encoder" / "model.safetensors")
    changed = {name for name, tensor in language.items() if not torch.equal(tensor, merged[name])}
    assert changed
    assert all("visual." in name for name in changed)
    trained = QwenImageEditPlusPipeline.from_pretrained(out, dtype=torch.float32)
    before = QwenImagePipeline.from_pretrained(generator, dtype=torch.float32)
    weight = "transformer_blocks.0.attn.to_k.weight"
    assert trained.transformer.zero_cond_t
    assert not torch.equal(trained.transformer.state_dict()[weight], before.transformer.state_dict()[weight])

    profile = load_profile("miniature-edit")
    assert [mode.name for mode in load_model(profile, weights_dir=out.parent).profile.modes] == ["full", "fast"]
    shutil.rmtree(out / "vae")
    link_shared(out, generator)
    assert (out / "vae" / "config.json").read_bytes() == (generator / "vae" / "config.json").read_bytes()


def test_references_stand_in_their_order(pipeline: QwenImageEditPlusPipeline, drawn: Path) -> None:
    pictures = prepare_pictures(pipeline, drawn)
    group = prepare_edits(pipeline, pictures)[-1]
    assert group.images == 2
    tokens = reference_tokens(pictures, group, torch.tensor([0]))
    first, second = (pack(pictures.latents[[place]].float()) for place in group.references[0].tolist())
    assert torch.equal(tokens, torch.cat([first, second], dim=1))
    assert build_models(pipeline.transformer, pictures, [group])[0].tokens == first.shape[1]
