from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.qwen.profile import Size
from core.qwen.text import TextEmbedding
from core.training.base import BaseSource, TrainableBase, load_trainable
from core.training.checkpoints import restore_checkpoint, save_checkpoint
from core.training.export import export_lora, make_manifest
from core.training.loop import Example, Optimisation
from core.training.memory import FallbackLadder
from core.training.settings import change_settings
from core.training.spec import TrainingSpec
from likeness.errors import InsufficientResources, InvalidRequest, NonFiniteResult
from tests.core.training.conftest import MakeSpec

MakeRun = Callable[..., Optimisation]
SIZE = Size(width=160, height=160)


def make_example(seed: int, *, tokens: int = 12, face: Any = (0.3, 0.2, 0.7, 0.6), weight: float = 1.0) -> Example:
    generator = torch.Generator().manual_seed(seed)
    return Example(
        latents=torch.randn(1, 100, 64, generator=generator),
        text=TextEmbedding(torch.randn(1, tokens, 192, generator=generator), None),
        size=SIZE,
        side=160,
        face=face,
        weight=weight,
    )


@pytest.fixture
def base(make_spec: MakeSpec) -> TrainableBase:
    spec = make_spec()
    return load_trainable(BaseSource.find(spec), spec)


@pytest.fixture
def make_run(base: TrainableBase, make_spec: MakeSpec) -> MakeRun:
    def make(
        examples: list[Example] | None = None, priors: list[Example] | None = None, **changes: Any
    ) -> Optimisation:
        settings = change_settings(make_spec().settings, {"hyperparameters": changes}).hyperparameters
        return Optimisation(base, examples or [make_example(1)], priors or [], settings, 16)

    return make


def gradients(run: Optimisation) -> dict[str, torch.Tensor]:
    run.base.transformer.zero_grad(set_to_none=True)
    run._loss(next(run.order()), 1).backward()
    return {name: p.grad.clone() for name, p in run.base.parameters.items() if p.grad is not None}


def test_only_the_adapter_is_trained_and_in_float32(base: TrainableBase) -> None:
    trained = [p for p in base.transformer.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in base.parameters.values()}
    assert {p.dtype for p in trained} == {torch.float32}


def test_a_bfloat16_base_is_trained_with_float32_weights(make_spec: MakeSpec) -> None:
    spec = make_spec()
    source = BaseSource.find(spec)
    half = BaseSource(source.profile, source.folder, source.device, torch.bfloat16, source.mode, source.mode_lora)
    base = load_trainable(half, spec)
    run = Optimisation(base, [make_example(1)], [], spec.settings.hyperparameters, 16)
    before = {name: p.detach().clone() for name, p in base.parameters.items()}
    run.advance(next(run.order()))
    assert base.transformer.dtype == torch.bfloat16
    assert {p.dtype for p in base.parameters.values()} == {torch.float32}
    assert any(not torch.equal(before[name], p) for name, p in base.parameters.items())


def test_an_untrained_adapter_changes_nothing_and_drawing_sets_it_aside(base: TrainableBase) -> None:
    run = Optimisation(base, [make_example(1)], [], change(steps=20, learning_rate=0.01), 16)
    example = make_example(1)

    @torch.no_grad()
    def predict() -> torch.Tensor:
        result: torch.Tensor = base.transformer(
            hidden_states=example.latents,
            timestep=torch.tensor([0.5]),
            encoder_hidden_states=example.text.states,
            encoder_hidden_states_mask=None,
            img_shapes=[[(1, 10, 10)]],
            return_dict=False,
        )[0]
        return result

    untouched = predict()
    run.advance([example])
    run.advance([example])
    assert not torch.equal(predict(), untouched)
    with base.drawing():
        assert torch.equal(predict(), untouched)
    assert not torch.equal(predict(), untouched)


def change(**changes: Any) -> Any:
    from core.training.settings import default_settings

    small = {"rank": 4, "warmup_steps": 1, "steps": 4, "resolutions": [{"side": 160}]}
    return change_settings(default_settings("miniature"), {"hyperparameters": {**small, **changes}}).hyperparameters


def test_the_loss_falls_on_what_is_seen_again_and_again(make_run: MakeRun) -> None:
    run = make_run(steps=20, learning_rate=0.02, batch_size=1)
    order = run.order()
    # The noise is the same before and after, so that nothing but the weights makes a difference.
    before = sum(float(run._loss(next(order), step).detach()) for step in range(100, 104))
    for _ in range(8):
        run.advance(next(order))
    assert sum(float(run._loss(next(order), step).detach()) for step in range(100, 104)) < 0.98 * before


def test_captions_of_different_length_share_a_batch(make_run: MakeRun) -> None:
    short, long = make_example(1, tokens=5), make_example(2, tokens=30)
    run = make_run([short, long])
    together = float(run._loss([short, long], 1).detach())
    assert math.isfinite(together)


def test_padding_does_not_change_a_caption(make_run: MakeRun) -> None:
    short, long = make_example(1, tokens=5), make_example(2, tokens=30)
    run = make_run([short])
    silent = Example(long.latents, long.text, SIZE, 160, None, weight=0.0)
    # The second one counts nothing, so the mean over two is half of the first one's own.
    noise_alone = float(run._loss([short, Example(long.latents, short.text, SIZE, 160, None, 0.0)], 1).detach())
    assert float(run._loss([short, silent], 1).detach()) == pytest.approx(noise_alone, rel=1e-5)


def test_faces_count_more(make_run: MakeRun) -> None:
    run = make_run(face_weight=3)
    weights = run._token_weights(make_example(1)).view(10, 10)
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[3, 5] / weights[9, 9]) == pytest.approx(3)
    assert bool((run._token_weights(make_example(1, face=None)) == 1).all())


def test_the_learning_rate_warms_up_and_follows_a_cosine(make_run: MakeRun) -> None:
    run = make_run(steps=110, warmup_steps=10, learning_rate=1.0, min_learning_rate_share=0.1)
    assert run.learning_rate(1) == pytest.approx(0.1) and run.learning_rate(10) == pytest.approx(1)
    assert run.learning_rate(60) == pytest.approx(0.55) and run.learning_rate(110) == pytest.approx(0.1)


@pytest.mark.parametrize("blocks", [1, 2])
def test_recomputed_blocks_give_the_same_gradients(make_run: MakeRun, blocks: int) -> None:
    run = make_run()
    plain = gradients(run)
    run.recompute(blocks)
    again = gradients(run)
    assert plain.keys() == again.keys() and all(torch.equal(plain[name], again[name]) for name in plain)


def test_short_memory_recomputes_more_blocks_until_none_is_left(make_run: MakeRun) -> None:
    run = make_run()
    ladder = FallbackLadder(run)
    assert run.recomputed_blocks == 0
    assert "1 of 2 blocks" in ladder.descend(torch.OutOfMemoryError())
    assert "2 of 2 blocks" in ladder.descend(torch.OutOfMemoryError())
    with pytest.raises(InsufficientResources, match="smaller resolution"):
        ladder.descend(torch.OutOfMemoryError())


def test_prior_pictures_come_at_their_steps_with_their_weight(make_run: MakeRun) -> None:
    prior = make_example(9, weight=0.5)
    run = make_run([make_example(1)], [prior], prior={"pictures": 1, "weight": 0.5, "every": 3})
    order = run.order()
    assert [next(order)[0] is prior for _ in range(7)] == [False, False, True, False, False, True, False]


def test_the_order_after_a_resume_is_what_it_would_have_been(make_run: MakeRun) -> None:
    examples = [make_example(k) for k in range(5)]
    run = make_run(examples, [make_example(9)], prior={"pictures": 1, "every": 3})
    order = run.order()
    whole = [next(order) for _ in range(12)]
    for step in (1, 2, 3, 7):
        run.step = step
        again = run.order()
        assert [[id(e) for e in next(again)] for _ in range(12 - step)] == [[id(e) for e in b] for b in whole[step:]]


def test_a_loss_that_is_not_finite_stops_the_step_and_leaves_the_weights(make_run: MakeRun) -> None:
    broken = make_example(1)
    broken.latents[0, 0, 0] = float("nan")
    run = make_run([broken])
    before = {name: p.detach().clone() for name, p in run.base.parameters.items()}
    with pytest.raises(NonFiniteResult, match="step 1") as caught:
        run.advance([broken])
    assert caught.value.metadata["step"] == "1" and run.step == 0
    assert all(torch.equal(before[name], p) for name, p in run.base.parameters.items())


def test_a_checkpoint_brings_weights_optimizer_and_step_back(make_run: MakeRun, tmp_path: Any) -> None:
    run = make_run(steps=20)
    order = run.order()
    for _ in range(3):
        run.advance(next(order))
    save_checkpoint(tmp_path, run, fingerprint="f", smoothed_loss=0.25)
    kept = {name: p.detach().clone() for name, p in run.base.parameters.items()}
    following = run.advance(next(order))
    after = {name: p.detach().clone() for name, p in run.base.parameters.items()}

    fresh = make_run(steps=20)
    for parameter in fresh.base.parameters.values():
        parameter.data.zero_()
    assert restore_checkpoint(tmp_path, fresh, fingerprint="f") == 0.25
    assert fresh.step == 3 and all(torch.equal(kept[name], p) for name, p in fresh.base.parameters.items())
    assert fresh.advance(next(fresh.order())) == following
    assert all(torch.equal(after[name], p) for name, p in fresh.base.parameters.items())


def test_a_damaged_checkpoint_gives_way_to_the_one_before(make_run: MakeRun, tmp_path: Any) -> None:
    run = make_run(steps=20)
    order = run.order()
    for _ in range(3):
        run.advance(next(order))
        save_checkpoint(tmp_path, run, fingerprint="f", smoothed_loss=0.5)
    folders = sorted((tmp_path / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["000002", "000003"]
    weights = folders[-1] / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    restore_checkpoint(tmp_path, run, fingerprint="f")
    assert run.step == 2


def test_another_runs_checkpoint_is_refused(make_run: MakeRun, tmp_path: Any) -> None:
    run = make_run()
    save_checkpoint(tmp_path, run, fingerprint="one", smoothed_loss=0.5)
    with pytest.raises(InvalidRequest, match="another run"):
        restore_checkpoint(tmp_path, run, fingerprint="two")


def test_weights_that_are_not_finite_are_never_saved(make_run: MakeRun, tmp_path: Any) -> None:
    run = make_run()
    next(iter(run.base.parameters.values())).data[0, 0] = float("inf")
    with pytest.raises(NonFiniteResult):
        save_checkpoint(tmp_path, run, fingerprint="f", smoothed_loss=0.5)
    assert not (tmp_path / "checkpoints").exists()


def test_the_exported_file_acts_through_the_generators_stack_as_the_adapter_does(
    make_run: MakeRun, make_spec: MakeSpec, tmp_path: Any
) -> None:
    run = make_run(steps=20, learning_rate=0.01, alpha=8)
    order = run.order()
    for _ in range(3):
        run.advance(next(order))
    spec: TrainingSpec = make_spec({"hyperparameters": {"alpha": 4}})
    manifest = make_manifest(spec, BaseSource.find(spec), dataset_sha256="d" * 64, step=3)
    adapter, digest = export_lora(tmp_path / "x.safetensors", run.base, spec.settings.hyperparameters, manifest)
    assert adapter.key == digest and adapter.rank == 4 and adapter.format == "diffusers"
    example = make_example(5)

    @torch.no_grad()
    def predict() -> torch.Tensor:
        result: torch.Tensor = run.base.transformer(
            hidden_states=example.latents,
            timestep=torch.tensor([0.5]),
            encoder_hidden_states=example.text.states,
            encoder_hidden_states_mask=None,
            img_shapes=[[(1, 10, 10)]],
            return_dict=False,
        )[0]
        return result

    trained = predict()
    with run.base.drawing():
        plain = predict()
        run.base.stack.apply([(adapter, 1.0)])
        published = predict()
    assert not torch.allclose(plain, trained, atol=1e-3)
    assert torch.allclose(published, trained, atol=1e-4)


def test_alpha_is_folded_into_the_exported_weights(make_run: MakeRun, make_spec: MakeSpec, tmp_path: Any) -> None:
    run = make_run(learning_rate=0.01)
    order = run.order()
    run.advance(next(order))
    files = []
    for alpha in (None, 12):
        spec = make_spec({"hyperparameters": {"alpha": alpha}})
        files.append(export_lora(tmp_path / "x.safetensors", run.base, spec.settings.hyperparameters, {})[0])
    for name, update in files[0].updates.items():
        assert torch.allclose(files[1].updates[name].up, 3 * update.up)
        assert files[1].updates[name].scale == 1
