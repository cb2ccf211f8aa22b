"""What is known of how long work takes."""

from __future__ import annotations

from core.runtime.estimates import DurationEstimates


def test_estimates_forget_what_is_old() -> None:
    now = [0.0]
    estimates = DurationEstimates(clock=lambda: now[0])
    assert estimates.mean("full") is None
    estimates.record("full", 60)
    now[0] = 100.0
    estimates.record("full", 2)
    assert (estimates.mean("full"), estimates.least("full"), estimates.least("fast")) == (31, 2, None)
    now[0] = 150.0
    assert (estimates.mean("full"), estimates.least("full")) == (2, 2)
    now[0] = 1000.0
    assert estimates.least("full") is None
