"""What a run needs is known before anything is loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from core.runtime.cancellation import CancelToken
from core.training.base import BaseSource, encoders, load_trainable
from core.training.cache import EncodingCache
from core.training.preflight import check_memory, check_room, measure_needs
from core.training.run import run_training
from core.training.spec import TrainingEvent
from likeness.errors import InsufficientResources
from tests.core.training.conftest import MakeSpec, shots_of, write_photos


def test_needs_are_those_of_what_is_loaded(make_spec: MakeSpec) -> None:
    spec = make_spec()
    source = BaseSource.find(spec)
    needs = measure_needs(source, spec.settings)
    base = load_trainable(source, spec)
    trained = sum(parameter.numel() for parameter in base.parameters.values())
    assert needs.adapter == trained * 16
    # Steps 2 and 4 are scored.
    assert needs.disk == trained * (3 * 12 + 2 * 4)
    frozen = [*base.transformer.parameters(), *base.transformer.buffers()]
    held = sum(tensor.nbytes for tensor in frozen if not tensor.requires_grad)
    with encoders(source) as pipeline:
        text_encoder, vae = (
            sum(tensor.nbytes for tensor in module.parameters()) for module in (pipeline.text_encoder, pipeline.vae)
        )
    assert needs.encoders == pytest.approx(text_encoder + vae, rel=0.01)
    assert needs.base - vae == pytest.approx(held, rel=0.01)


def test_eight_bits_larger_batches_and_ranks_are_counted(make_spec: MakeSpec) -> None:
    source = BaseSource.find(make_spec())
    usual = measure_needs(source, make_spec().settings)
    stored = measure_needs(source, make_spec({"hyperparameters": {"base_storage": "float8"}}).settings)
    twice = measure_needs(source, make_spec({"hyperparameters": {"batch_size": 4, "rank": 8}}).settings)
    assert stored.base < usual.base and stored.adapter == usual.adapter
    assert (twice.activations, twice.adapter) == (2 * usual.activations, 2 * usual.adapter)


def test_too_little_memory_names_what_takes_it_and_the_ways_out(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    source = BaseSource.find(spec)
    needs = measure_needs(source, spec.settings)
    check_room(source, spec.settings, tmp_path, needs.memory)
    check_room(source, spec.settings, tmp_path, None)
    with pytest.raises(InsufficientResources, match="batch_size or rank, base_storage float8, or a larger"):
        check_room(source, spec.settings, tmp_path, needs.memory - 1)
    with pytest.raises(InsufficientResources, match="batch_size or rank, or a larger"):
        check_memory(needs, needs.memory - 1, device="cuda:0", in_eight_bits=True)
    large = dataclasses.replace(needs, encoders=needs.training + 1)
    with pytest.raises(InsufficientResources, match="the encoders alone"):
        check_memory(large, needs.training, device="cuda:0", in_eight_bits=False)


def test_too_little_disk_is_told_before_anything_is_loaded(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    source = BaseSource.find(spec)
    large = dataclasses.replace(measure_needs(source, spec.settings), disk=2**60)
    # A disk that is nearly full cannot be had here.
    monkeypatch.setattr("core.training.preflight.measure_needs", lambda source, settings: large)
    with pytest.raises(InsufficientResources) as told:
        check_room(source, spec.settings, tmp_path, None)
    assert told.value.metadata == {"resource": "disk"}


def test_a_run_without_room_ends_before_it_looks_at_a_photo(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.training.run.free_bytes", lambda device: 2**20)
    events: list[TrainingEvent] = []
    with pytest.raises(InsufficientResources) as told:
        run_training(make_spec(), tmp_path, events.append, CancelToken())
    assert told.value.metadata == {"resource": "memory"}
    assert len(events) == 1


def test_memory_that_runs_out_beside_the_steps_is_told_with_what_it_did(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*arguments: object, **named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    # A device that is too small cannot be had here.
    monkeypatch.setattr(EncodingCache, "encode", encode)
    spec = make_spec({"dataset": {"held_out": 0}}, photos=write_photos(tmp_path, shots_of(1, 3)))
    with pytest.raises(InsufficientResources, match="while it was caching") as told:
        run_training(spec, tmp_path, lambda _: None, CancelToken())
    assert told.value.metadata == {"resource": "memory"}
