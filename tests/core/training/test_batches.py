from __future__ import annotations

from collections import Counter
from itertools import islice

from core.training.batches import Group, batches, derived_seed, group_samples


def take(groups: tuple[Group, ...], count: int, *, seed: int = 1, after: int = 0) -> list[tuple[int, ...]]:
    return list(islice(batches(groups, batch_size=2, seed=seed, after=after), count))


GROUPS = group_samples([(512, "a"), (512, "a"), (512, "b"), (512, "a"), (1024, "a")], {512: 3.0, 1024: 1.0})


def test_a_batch_has_samples_of_one_group_alone() -> None:
    members = [set(group.members) for group in GROUPS]
    assert all(any(set(batch) <= group for group in members) for batch in take(GROUPS, 200))


def test_what_comes_after_a_step_is_what_would_have_come_without_a_stop() -> None:
    whole = take(GROUPS, 60)
    for stop in (0, 1, 17, 59):
        assert take(GROUPS, 60 - stop, after=stop) == whole[stop:]


def test_another_seed_gives_another_order() -> None:
    assert take(GROUPS, 20, seed=1) != take(GROUPS, 20, seed=2)


def test_a_group_goes_through_all_its_samples_before_one_comes_again() -> None:
    group = (Group((10, 11, 12, 13, 14, 15), 1.0),)
    seen = [index for batch in take(group, 9) for index in batch]
    for start in range(0, 18, 6):
        assert sorted(seen[start : start + 6]) == [10, 11, 12, 13, 14, 15]
    assert seen[:6] != seen[6:12]


def test_resolutions_come_as_often_as_their_weights_say() -> None:
    drawn = Counter(batch[0] == 4 for batch in take(GROUPS, 4000))
    assert 0.22 < drawn[True] / 4000 < 0.28


def test_a_lone_sample_fills_a_batch() -> None:
    assert take((Group((3,), 1.0),), 2) == [(3, 3), (3, 3)]


def test_seeds_of_different_purposes_differ() -> None:
    assert len({derived_seed(1, "a"), derived_seed(1, "b"), derived_seed(2, "a"), derived_seed("1", "a", 0)}) == 4
    assert derived_seed(1, "a") < 2**63
