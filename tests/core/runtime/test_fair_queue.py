"""Turns between tenants and priorities."""

from __future__ import annotations

import random

import pytest

from core.runtime.fair_queue import PATIENCE, FairQueue, Priority

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


def filled(*items: tuple[str, str, Priority]) -> FairQueue[str]:
    queue = FairQueue[str]()
    for tenant, item, priority in items:
        queue.push(tenant, item, priority)
    return queue


def pops(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_high_goes_before_the_tenants_own_and_takes_no_turn_of_another() -> None:
    queue = filled(("a", "a1", NORMAL), ("b", "b1", NORMAL), ("a", "a2", HIGH), ("b", "b2", NORMAL), ("a", "a3", HIGH))
    assert pops(queue) == ["a2", "b1", "a3", "b2", "a1"]


def test_low_goes_after_everybodys() -> None:
    queue = filled(("a", "a1", LOW), ("b", "b1", NORMAL), ("c", "c1", LOW), ("b", "b2", NORMAL))
    assert pops(queue) == ["b1", "b2", "a1", "c1"]


@pytest.mark.parametrize(("urgent", "waiting"), [(NORMAL, LOW), (HIGH, NORMAL)])
def test_what_yields_gets_a_turn_however_much_comes(urgent: Priority, waiting: Priority) -> None:
    queue = filled(("a", "late", waiting))
    for index in range(PATIENCE):
        queue.push("a", f"early {index}", urgent)
        assert queue.pop() == f"early {index}"
    queue.push("a", "one more", urgent)
    assert queue.pop() == "late"


def test_the_order_told_is_the_order_of_the_pops_whatever_comes_and_goes() -> None:
    choice = random.Random(5)
    queue, waiting = FairQueue[str](), dict[str, str]()
    for number in range(300):
        action = choice.random()
        if action < 0.55:
            tenant, item = choice.choice("abc"), str(number)
            queue.push(tenant, item, choice.choice(list(Priority)))
            waiting[item] = tenant
        elif action < 0.7 and waiting:
            item = choice.choice(sorted(waiting))
            assert queue.remove(waiting.pop(item), item)
        elif waiting:
            expected = queue.order()[0]
            assert queue.pop() == expected
            del waiting[expected]
        assert sorted(queue.order()) == sorted(waiting)
        assert len(queue) == len(waiting)
    told = queue.order()
    assert pops(queue) == told


def test_removing_says_whether_it_was_there() -> None:
    queue = filled(("a", "a1", LOW))
    assert not queue.remove("b", "a1")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    with pytest.raises(IndexError):
        queue.pop()


def test_the_queues_order_is_the_order_of_its_pops() -> None:
    queue = FairQueue[str]()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.push(item[0], item)
    assert queue.order() == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert queue.pop() == "a1"
    assert queue.order() == ["b1", "c1", "a2", "c2", "a3"]
    assert queue.remove("b", "b1")
    assert not queue.remove("b", "b1")
    assert [queue.pop() for _ in range(len(queue))] == ["c1", "a2", "c2", "a3"]
    with pytest.raises(IndexError):
        queue.pop()
