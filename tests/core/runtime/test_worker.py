"""The device worker: order, fairness, refusals, cancellation."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from core.runtime import calls
from core.runtime.cancellation import CancelToken
from core.runtime.worker import DeviceWorker, Emit, Failed, Queued, Result, Started
from likeness.errors import (
    Cancelled,
    DeadlineExceeded,
    DeadlineTooShort,
    Internal,
    NoFace,
    QueueFull,
    ServiceUnavailable,
)
from likeness.metadata import CallMetadata

PATIENCE = 10.0


class Gate:
    """Work that says when it runs and ends when it is let go, or at the token's next check."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.entered = threading.Event()
        self.release = threading.Event()
        self.stopped_by: BaseException | None = None
        self.left = threading.Event()

    def __call__(self, token: CancelToken, emit: Emit) -> Any:
        self.entered.set()
        try:
            while not self.release.wait(0.005):
                token.check()
        except BaseException as error:
            self.stopped_by = error
            raise
        finally:
            self.left.set()
        return self.value


async def reach(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def collect(stream: AsyncIterator[Any]) -> list[Any]:
    return [event async for event in stream]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def test_a_stream_tells_queued_started_events_and_result_in_order(worker: DeviceWorker) -> None:
    def work(token: CancelToken, emit: Emit) -> str:
        emit("step 1")
        emit("step 2")
        return "done"

    token = CancelToken()
    events = await collect(worker.stream(work, token=token))
    assert [type(event) for event in events] == [Queued, Started, str, str, Result]
    assert events[0] == Queued(0)
    assert events[2:4] == ["step 1", "step 2"]
    assert events[4].value == "done"
    assert events[4].queued_seconds == events[1].queued_seconds >= 0
    assert not token.cancelled, "the next stage of a composition uses the same token"


async def test_a_call_returns_value_and_wait(worker: DeviceWorker) -> None:
    value, queued_seconds = await worker.call(lambda token, emit: 42, token=CancelToken())
    assert value == 42
    assert 0 <= queued_seconds < PATIENCE


async def test_work_runs_in_one_thread_and_in_the_callers_context(worker: DeviceWorker) -> None:
    names = {(await worker.call(lambda t, e: threading.current_thread().name, token=CancelToken()))[0] for _ in "ab"}
    assert names == {"test-device"}


async def test_waiting_work_hears_its_position_change(worker: DeviceWorker) -> None:
    gate = Gate()
    first = asyncio.create_task(worker.call(gate, token=CancelToken()))
    await reach(gate.entered)
    second = asyncio.create_task(worker.call(lambda t, e: None, token=CancelToken()))
    await until(lambda: worker.depth == 1)
    third = worker.stream(lambda t, e: None, token=CancelToken())
    assert await anext(third) == Queued(1)
    gate.release.set()
    assert await anext(third) == Queued(0)
    assert [type(event) for event in await collect(third)] == [Started, Result]
    await asyncio.gather(first, second)


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(worker: DeviceWorker) -> None:
    gate = Gate()
    calls = [asyncio.create_task(worker.call(gate, token=CancelToken())) for _ in range(4)]
    await reach(gate.entered)
    await until(lambda: worker.depth == 3)
    with pytest.raises(QueueFull) as caught:
        await worker.call(lambda t, e: None, token=CancelToken())
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0
    gate.release.set()
    await asyncio.gather(*calls)
    assert (await worker.call(lambda t, e: "room again", token=CancelToken()))[0] == "room again"


async def test_an_idle_worker_takes_one_more_than_its_capacity_at_once() -> None:
    worker = DeviceWorker("test", capacity=1)
    gate = Gate()
    calls = [asyncio.create_task(worker.call(gate, token=CancelToken())) for _ in range(3)]
    done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert [type(call.exception()) for call in done] == [QueueFull]
    gate.release.set()
    await asyncio.gather(*waiting)
    worker.close()


async def test_tenants_take_turns_and_each_is_served_in_order(worker: DeviceWorker) -> None:
    gate, order = Gate(), list[str]()
    calls = [asyncio.create_task(worker.call(gate, token=CancelToken()))]
    await reach(gate.entered)
    for depth, (tenant, name) in enumerate([("a", "a1"), ("a", "a2"), ("b", "b1")], start=1):
        work: Any = functools.partial(lambda name, token, emit: order.append(name), name)
        calls.append(asyncio.create_task(worker.call(work, token=CancelToken(), tenant=tenant)))
        await until(functools.partial(lambda depth: worker.depth == depth, depth))
    gate.release.set()
    await asyncio.gather(*calls)
    assert order == ["a1", "b1", "a2"]


async def test_leaving_a_stream_stops_running_work_at_its_next_step(worker: DeviceWorker) -> None:
    gate, token = Gate(), CancelToken()
    stream = worker.stream(gate, token=token)
    async for event in stream:
        if isinstance(event, Started):
            break
    await stream.aclose()
    assert token.cancelled
    await reach(gate.left)
    assert isinstance(gate.stopped_by, Cancelled)


async def test_cancelling_the_waiting_task_stops_running_work(worker: DeviceWorker) -> None:
    gate = Gate()
    call = asyncio.create_task(worker.call(gate, token=CancelToken()))
    await reach(gate.entered)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await reach(gate.left)
    assert isinstance(gate.stopped_by, Cancelled)


@pytest.mark.parametrize("how", ["task", "token"])
async def test_queued_work_leaves_the_queue_when_nobody_waits_any_more(worker: DeviceWorker, how: str) -> None:
    gate, ran = Gate(), threading.Event()
    first = asyncio.create_task(worker.call(gate, token=CancelToken()))
    await reach(gate.entered)
    token = CancelToken()
    second = asyncio.create_task(worker.call(lambda t, e: ran.set(), token=token))
    await until(lambda: worker.depth == 1)
    if how == "task":
        second.cancel()
    else:
        token.cancel()
    with pytest.raises((asyncio.CancelledError, Cancelled)):
        await second
    assert worker.depth == 0
    gate.release.set()
    await first
    assert await worker.drain(PATIENCE)
    assert not ran.is_set()


async def test_a_deadline_frees_the_caller_and_stops_the_work(worker: DeviceWorker) -> None:
    gate = Gate()
    with pytest.raises(DeadlineExceeded):
        await worker.call(gate, token=CancelToken.with_timeout(0.05))
    await reach(gate.left)
    assert gate.stopped_by is not None


async def test_a_deadline_takes_queued_work_out_of_the_queue(worker: DeviceWorker) -> None:
    gate = Gate()
    first = asyncio.create_task(worker.call(gate, token=CancelToken()))
    await reach(gate.entered)
    with pytest.raises(DeadlineExceeded):
        await worker.call(lambda t, e: None, token=CancelToken.with_timeout(0.05))
    assert worker.depth == 0
    gate.release.set()
    await first


async def test_work_that_cannot_meet_its_deadline_is_refused_before_it_is_queued(worker: DeviceWorker) -> None:
    with pytest.raises(DeadlineTooShort):
        await worker.call(lambda t, e: None, token=CancelToken.with_timeout(1), expected_seconds=2)
    gate = Gate()
    first = asyncio.create_task(worker.call(gate, token=CancelToken(), expected_seconds=60))
    await reach(gate.entered)
    with pytest.raises(DeadlineTooShort):
        await worker.call(lambda t, e: None, token=CancelToken.with_timeout(30), expected_seconds=1)
    assert worker.depth == 0
    gate.release.set()
    await first


async def test_a_token_that_has_stopped_is_refused(worker: DeviceWorker) -> None:
    with pytest.raises(DeadlineExceeded):
        await worker.call(lambda t, e: None, token=CancelToken(time.monotonic() - 1))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        await worker.call(lambda t, e: None, token=token)


async def test_an_error_of_the_table_reaches_the_caller_as_it_is(worker: DeviceWorker) -> None:
    def work(token: CancelToken, emit: Emit) -> None:
        raise NoFace("nobody", field="reference_image")

    with pytest.raises(NoFace) as caught:
        await worker.call(work, token=CancelToken())
    assert caught.value.field == "reference_image"


@pytest.mark.parametrize("error", [RuntimeError("secret of the house"), SystemExit(3), KeyboardInterrupt()])
async def test_a_crash_becomes_internal_and_the_thread_lives_on(
    worker: DeviceWorker, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def work(token: CancelToken, emit: Emit) -> None:
        raise error

    with pytest.raises(Internal) as caught:
        await worker.call(work, token=CancelToken())
    assert "secret" not in str(caught.value)
    assert caplog.records[-1].exc_info is not None
    assert (await worker.call(lambda t, e: "alive", token=CancelToken()))[0] == "alive"


async def test_draining_refuses_new_work_and_waits_for_what_was_admitted(worker: DeviceWorker) -> None:
    gate = Gate("kept")
    first = asyncio.create_task(worker.call(gate, token=CancelToken()))
    await reach(gate.entered)
    second = asyncio.create_task(worker.call(lambda t, e: "kept too", token=CancelToken()))
    await until(lambda: worker.depth == 1)
    assert not await worker.drain(0.01)
    with pytest.raises(ServiceUnavailable):
        await worker.call(lambda t, e: None, token=CancelToken())
    gate.release.set()
    assert await worker.drain(PATIENCE)
    assert [(await call)[0] for call in (first, second)] == ["kept", "kept too"]


async def test_closing_stops_running_and_waiting_work(worker: DeviceWorker) -> None:
    gate = Gate()
    first = asyncio.create_task(worker.call(gate, token=CancelToken()))
    await reach(gate.entered)
    second = asyncio.create_task(worker.call(lambda t, e: None, token=CancelToken()))
    await until(lambda: worker.depth == 1)
    assert await asyncio.to_thread(worker.close)
    for call in (first, second):
        with pytest.raises(ServiceUnavailable, match="shutting down"):
            await call


async def test_finished_work_keeps_nothing_alive(worker: DeviceWorker) -> None:
    class Picture:
        """Stands for large data."""

    picture = Picture()
    gone = weakref.ref(picture)
    work: Any = functools.partial(lambda picture, token, emit: None, picture)
    await worker.call(work, token=CancelToken())
    del picture, work
    await until(lambda: gc.collect() >= 0 and gone() is None)


def test_submitted_work_that_is_cancelled_while_queued_emits_its_failure(worker: DeviceWorker) -> None:
    gate, events, token = Gate(), list[Any](), CancelToken()
    ended = threading.Event()
    worker.submit(gate, token=CancelToken(), emit=lambda event: ended.set() if isinstance(event, Result) else None)
    assert gate.entered.wait(PATIENCE)
    worker.submit(lambda t, e: None, token=token, emit=events.append)
    token.cancel()
    assert events[0] == Queued(0)
    assert isinstance(events[1], Failed)
    assert isinstance(events[1].error, Cancelled)
    gate.release.set()
    assert ended.wait(PATIENCE)


async def test_work_sees_the_metadata_of_its_call(worker: DeviceWorker) -> None:
    calls._metadata.set(CallMetadata("r-7"))
    assert (await worker.call(lambda t, e: calls.current_metadata().request_id, token=CancelToken()))[0] == "r-7"
