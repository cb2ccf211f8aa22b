from __future__ import annotations

import pytest

from gateway.deadline import Deadline, timeout_seconds
from likeness.errors import DeadlineExceeded, InvalidRequest
from likeness.metadata import CallMetadata


def test_the_body_comes_before_the_header_and_the_header_before_the_default() -> None:
    assert timeout_seconds("5", 3.0, 60, 100) == 3.0
    assert timeout_seconds("5", None, 60, 100) == 5.0
    assert timeout_seconds(None, None, 60, 100) == 60


@pytest.mark.parametrize("header", ["", "soon", "nan", "inf", "0", "-1", "101"])
def test_a_header_that_is_no_time_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        timeout_seconds(header, None, 60, 100)
    assert caught.value.field == "x-timeout-seconds"


def test_calls_get_what_is_left_and_a_span_of_their_own() -> None:
    metadata = CallMetadata.new()
    options = Deadline.after(10).options(metadata)
    assert options.timeout_seconds is not None and 9 < options.timeout_seconds <= 10
    assert options.metadata is not None
    assert options.metadata.request_id == metadata.request_id
    assert options.metadata.traceparent != metadata.traceparent
    with pytest.raises(DeadlineExceeded):
        Deadline.after(0).options(metadata)
