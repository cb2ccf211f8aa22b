from __future__ import annotations

from gateway.body import json_depth_exceeds


def test_depth_counts_nesting_and_not_text() -> None:
    assert not json_depth_exceeds(b'{"a": [[1]]}', 3)
    assert json_depth_exceeds(b'{"a": [[[1]]]}', 3)
    assert not json_depth_exceeds(b'{"a": "' + b"[{" * 500 + b'\\"[[[["}', 3)
    assert not json_depth_exceeds(b"[" + b"[]," * 500 + b"1]", 3)
