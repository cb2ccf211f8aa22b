"""The order in which samples are trained on: a function of the seed and the step, so that a run is resumed exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np


@dataclass(frozen=True)
class Group:
    """Samples that may be in one batch: their pictures have the same size."""

    members: tuple[int, ...]
    """Indices of the samples."""
    weight: float
    """Relative odds that a step is on this group."""


def derived_seed(*parts: Hashable) -> int:
    """Return a seed of 63 bits for a purpose, told apart by ``parts``: text and numbers."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def group_samples(keys: Sequence[tuple[int, Hashable]], weights: dict[int, float]) -> tuple[Group, ...]:
    """Group samples by resolution and size.

    Args:
        keys: resolution and size of each sample.
        weights: how often each resolution is trained on; inside one, each sample is as likely as any other.
    """
    members: dict[tuple[int, Hashable], list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    totals = {side: sum(key[0] == side for key in keys) for side in weights}
    return tuple(
        Group(tuple(indices), weights[side] * len(indices) / totals[side]) for (side, _), indices in members.items()
    )


def batches(groups: Sequence[Group], *, batch_size: int, seed: int, after: int = 0) -> Iterator[tuple[int, ...]]:
    """Yield batches of sample indices for ever, beginning behind the first ``after`` ones.

    Each group goes through its samples in a new order every time. A group with fewer samples than a batch gives some
    of them twice.
    """
    return islice(_endless(groups, batch_size, seed), after, None)


def _endless(groups: Sequence[Group], batch_size: int, seed: int) -> Iterator[tuple[int, ...]]:
    choice = np.random.default_rng(derived_seed(seed, "groups"))
    odds = np.array([group.weight for group in groups])
    orders = [_shuffled(group.members, derived_seed(seed, "order", place)) for place, group in enumerate(groups)]
    while True:
        chosen = int(choice.choice(len(groups), p=odds / odds.sum()))
        yield tuple(islice(orders[chosen], batch_size))


def _shuffled(members: tuple[int, ...], seed: int) -> Iterator[int]:
    generator = np.random.default_rng(seed)
    while True:
        yield from (members[int(place)] for place in generator.permutation(len(members)))
