"""Work of one key that the worker does together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from core.runtime.cancellation import CancelToken
from core.runtime.work import BatchWork, Part
from core.runtime.worker import DeviceWorker, Priority, Result
from likeness.errors import Cancelled, DeadlineTooShort, Internal, NoFace

PATIENCE = 10.0
Parts = Sequence[Part[str, str]]


class Batches:
    """Notes what was done together; a test may hold it and say how parts end."""

    def __init__(self) -> None:
        self.done: list[list[str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.entered = threading.Event()

    def __call__(self, parts: Parts) -> None:
        self.done.append([part.item for part in parts])
        self.entered.set()
        assert self.hold.wait(PATIENCE)
        for part in parts:
            if not part.goes_on():
                continue
            if part.item == "broken":
                part.fail(NoFace("nobody"))
            elif part.item == "crash":
                raise RuntimeError("the device is gone")
            elif part.item != "forgotten":
                part.finish(part.item.upper())

    def work(self, item: str, *, key: Any = "shape", size: int = 1, limit: int = 3) -> BatchWork[str, str]:
        return BatchWork(item=item, run=self, key=key, size=size, limit=limit)


class House:
    """A worker that is busy until `open` is called."""

    def __init__(self, worker: DeviceWorker) -> None:
        self.worker = worker
        self.batches = Batches()
        self.release = threading.Event()
        self.results: list[asyncio.Task[str]] = []

    async def close_device(self) -> None:
        entered = threading.Event()

        def work(token: CancelToken, emit: Any) -> None:
            entered.set()
            assert self.release.wait(PATIENCE)

        self.worker.submit(work, token=CancelToken(), emit=lambda event: None)
        assert await asyncio.to_thread(entered.wait, PATIENCE)

    async def add(self, work: BatchWork[str, str], **admission: Any) -> asyncio.Task[str]:
        """Admit work, and return when it waits."""
        token = admission.pop("token", None) or CancelToken()
        depth = self.worker.depth

        async def result() -> str:
            async for event in self.worker.stream(work, token=token, **admission):
                if isinstance(event, Result):
                    return str(event.value)
            raise AssertionError

        task = asyncio.create_task(result())
        async with asyncio.timeout(PATIENCE):
            while self.worker.depth == depth:
                await asyncio.sleep(0)
        return task


@pytest.fixture
async def house() -> Any:
    worker = DeviceWorker("test", capacity=10)
    house = House(worker)
    await house.close_device()
    yield house
    house.release.set()
    house.batches.hold.set()
    assert await asyncio.to_thread(worker.close)


async def test_waiting_work_of_one_key_is_done_together_up_to_the_limit(house: House) -> None:
    tasks = [await house.add(house.batches.work(name)) for name in "abcd"]
    house.release.set()
    assert await asyncio.gather(*tasks) == ["A", "B", "C", "D"]
    assert house.batches.done == [["a", "b", "c"], ["d"]]


async def test_other_keys_and_what_has_no_room_wait_for_their_turn(house: House) -> None:
    works = [
        house.batches.work("a"),
        house.batches.work("other", key="another shape"),
        house.batches.work("large", size=3),
        house.batches.work("b", size=2),
    ]
    tasks = [await house.add(work) for work in works]
    house.release.set()
    assert await asyncio.gather(*tasks) == ["A", "OTHER", "LARGE", "B"]
    assert house.batches.done == [["a", "b"], ["other"], ["large"]]


async def test_a_batch_begins_with_whoever_is_next_and_takes_all_tenants_along(house: House) -> None:
    tasks = [
        await house.add(house.batches.work("background"), tenant="a", priority=Priority.LOW),
        await house.add(house.batches.work("first"), tenant="b"),
        await house.add(house.batches.work("second"), tenant="c"),
    ]
    house.release.set()
    await asyncio.gather(*tasks)
    assert house.batches.done == [["first", "second", "background"]]


async def test_each_part_ends_with_its_own_result_or_error(house: House) -> None:
    token = CancelToken()
    tasks = [await house.add(house.batches.work(name)) for name in ("a", "broken")]
    tasks.append(await house.add(house.batches.work("cancelled"), token=token))
    house.batches.hold.clear()
    house.release.set()
    assert await asyncio.to_thread(house.batches.entered.wait, PATIENCE)
    token.cancel()
    house.batches.hold.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], NoFace)
    assert isinstance(results[2], Cancelled)


async def test_a_crash_fails_those_that_have_not_ended_and_the_thread_lives_on(house: House) -> None:
    tasks = [await house.add(house.batches.work(name)) for name in ("a", "crash", "b")]
    house.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "A"
    assert [type(result) for result in results[1:]] == [Internal, Internal]
    assert (await house.worker.call(lambda token, emit: "alive", token=CancelToken()))[0] == "alive"
    assert not house.worker.busy


async def test_a_part_that_the_work_forgets_is_an_error_and_waits_for_nobody(house: House) -> None:
    task = await house.add(house.batches.work("forgotten"))
    house.release.set()
    with pytest.raises(Internal, match="without a result"):
        await task


async def test_a_part_that_leaves_the_queue_is_not_in_the_batch(house: House) -> None:
    token = CancelToken()
    tasks = [await house.add(house.batches.work("a")), await house.add(house.batches.work("gone"), token=token)]
    token.cancel()
    house.release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], Cancelled)
    assert house.batches.done == [["a"]]


async def test_waiting_work_that_can_no_longer_end_in_time_is_refused_and_not_begun(house: House) -> None:
    token = CancelToken.with_timeout(5.0)
    # The running work has no expected end, so it is admitted; by its turn too little is left.
    task = await house.add(house.batches.work("late"), token=token, expected_seconds=4.9)
    while (token.remaining() or 0.0) >= 4.9:
        await asyncio.sleep(0.01)
    house.release.set()
    with pytest.raises(DeadlineTooShort):
        await task
    assert house.batches.done == []
