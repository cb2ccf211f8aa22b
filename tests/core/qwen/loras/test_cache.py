from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from core.qwen.loras.adapter import Adapter, LoraFormat, LowRankUpdate
from core.qwen.loras.cache import AdapterCache


def adapter(key: str, size: int = 8) -> Adapter:
    """Make one of 2 × 4 × ``size`` bytes."""
    update = LowRankUpdate(torch.zeros(1, size), torch.zeros(size, 1), 1.0)
    return Adapter(key, LoraFormat.BARE, {"layer": update})


def fail() -> Adapter:
    raise AssertionError("it was loaded again")


def test_the_least_recently_used_makes_room() -> None:
    cache = AdapterCache(max_count=2, max_bytes=10**6)
    for key in ("a", "b"):
        cache.get(key, lambda key=key: adapter(key))  # type: ignore[misc]
    cache.get("a", fail)
    cache.get("c", lambda: adapter("c"))
    assert len(cache) == 2
    cache.get("a", fail)
    with pytest.raises(AssertionError, match="again"):
        cache.get("b", fail)


def test_bytes_are_bounded_but_the_newest_stays() -> None:
    cache = AdapterCache(max_count=10, max_bytes=200)
    for key in ("a", "b", "c", "d"):
        cache.get(key, lambda key=key: adapter(key))  # type: ignore[misc]
    assert (len(cache), cache.size_bytes) == (3, 192)
    cache.get("huge", lambda: adapter("huge", 1000))
    assert len(cache) == 1
    cache.get("huge", fail)


def test_what_is_forgotten_is_loaded_again() -> None:
    cache = AdapterCache(max_count=2, max_bytes=200)
    first = cache.get("a", lambda: adapter("a"))
    cache.discard("a")
    cache.discard("never there")
    assert cache.get("a", lambda: adapter("a")) is not first


def test_callers_at_the_same_time_load_it_once() -> None:
    cache = AdapterCache(max_count=2, max_bytes=200)
    may_end = threading.Event()
    loads: list[None] = []

    def load() -> Adapter:
        loads.append(None)
        may_end.wait(30)
        return adapter("a")

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(cache.get, "a", load) for _ in range(4)]
        may_end.set()
        assert len({id(future.result(30)) for future in waiting}) == 1
    assert len(loads) == 1


def test_a_failed_load_is_told_and_tried_again() -> None:
    cache = AdapterCache(max_count=2, max_bytes=200)
    with pytest.raises(AssertionError):
        cache.get("a", fail)
    assert cache.get("a", lambda: adapter("a")).key == "a"
