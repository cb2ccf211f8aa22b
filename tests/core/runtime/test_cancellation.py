"""Cancel tokens."""

from __future__ import annotations

import threading
import time

import pytest

from core.runtime.cancellation import CancelToken
from likeness.errors import Cancelled, DeadlineExceeded


def test_a_fresh_token_lets_work_go_on() -> None:
    token = CancelToken()
    token.check()
    assert not token.cancelled
    assert not token.stopped
    assert token.remaining() is None


def test_a_cancelled_token_stops_work_with_its_first_reason() -> None:
    token = CancelToken()
    token.cancel("the first reason")
    token.cancel("another")
    assert token.cancelled
    with pytest.raises(Cancelled, match="the first reason"):
        token.check()


def test_a_passed_deadline_stops_work() -> None:
    token = CancelToken(time.monotonic() - 1)
    assert token.remaining() == 0
    assert token.stopped
    assert not token.cancelled
    with pytest.raises(DeadlineExceeded):
        token.check()


def test_remaining_counts_down_to_the_deadline() -> None:
    remaining = CancelToken.with_timeout(60).remaining()
    assert remaining is not None
    assert 59 < remaining <= 60


def test_callbacks_run_once_unless_taken_back() -> None:
    token, called = CancelToken(), []
    token.add_callback(lambda: called.append("kept"))
    take_back = token.add_callback(lambda: called.append("taken back"))
    take_back()
    take_back()
    token.cancel()
    token.cancel()
    token.add_callback(lambda: called.append("late"))
    assert called == ["kept", "late"]


def test_a_cancel_reaches_another_thread() -> None:
    token, stopped = CancelToken(), threading.Event()
    token.add_callback(stopped.set)
    threading.Thread(target=token.cancel).start()
    assert stopped.wait(5)
    assert token.cancelled
