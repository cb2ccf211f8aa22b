from __future__ import annotations

import time

import pytest

from gateway.body import MAX_JSON_VALUES, depth_exceeds, parse_json
from likeness.errors import InvalidRequest


def test_depth_counts_nesting() -> None:
    assert not depth_exceeds({"a": [[1]]}, 3)
    assert depth_exceeds({"a": [[[1]]]}, 3)
    assert depth_exceeds({"a": [[1, {}]]}, 3)
    assert not depth_exceeds([[]] * 500, 2)


def test_brackets_in_texts_are_no_nesting() -> None:
    assert parse_json(b'{"a": "' + b"[{" * 500 + b'\\"[[[["}')["a"].endswith('"[[[[')


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [' + b"[]," * 1_000_000 + b"[]]}",
        b"{" + b",".join(b'"k%d":1' % number for number in range(200_000)) + b"}",
        b'{"a":' + b"[]" * 20 + b'"' + b'\\"' * 1_000_000,
        b"[" * 1_000_000,
    ],
    ids=["empty lists", "fields", "escapes without end", "depth"],
)
def test_a_body_made_to_be_slow_is_refused_at_once(body: bytes) -> None:
    started = time.process_time()
    with pytest.raises(InvalidRequest):
        parse_json(body)
    assert time.process_time() - started < 0.5


def test_a_body_with_too_many_values_is_refused() -> None:
    values = b"1," * MAX_JSON_VALUES
    with pytest.raises(InvalidRequest, match="more than 10000 values"):
        parse_json(b'{"a": [' + values + b"1]}")
