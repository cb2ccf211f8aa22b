"""Doing a batch of admitted work in the worker's thread: every piece ends in exactly one result or error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from core.runtime import telemetry
from core.runtime.work import BatchWork, Failed, Part, Result, Started, Ticket
from likeness.errors import Internal, LikenessError

Settle = Callable[[Ticket, Result[Any] | Failed], None]
"""Tells the worker how a ticket has ended; called once for each."""

_logger = logging.getLogger(__name__)


def execute(service: str, tickets: Sequence[Ticket], settle: Settle) -> None:
    """Do the work of ``tickets``, which is one piece or a batch. Raises nothing.

    Args:
        service: The worker's name, for the metrics.
        tickets: What the worker took from its queue; one that has stopped meanwhile takes no part.
        settle: Called once for each ticket, as soon as it has ended.
    """
    share = 1.0 / sum(ticket.size for ticket in tickets)

    def end(ticket: Ticket, outcome: Any) -> None:
        if isinstance(outcome, LikenessError):
            settle(ticket, Failed(outcome))
            return
        assert ticket.started_at is not None
        seconds = time.monotonic() - ticket.started_at
        telemetry.WORK_SECONDS.labels(service, ticket.kind).observe(seconds)
        settle(ticket, Result(outcome, ticket.queued_seconds, seconds, ticket.size * share))

    works = [ticket.take_work() for ticket in tickets]
    parts = [
        Part(work.item if isinstance(work, BatchWork) else None, ticket.token, ticket.emit, partial(end, ticket))
        for ticket, work in zip(tickets, works, strict=True)
    ]
    for ticket, part in zip(tickets, parts, strict=True):
        telemetry.QUEUE_WAIT_SECONDS.labels(service).observe(ticket.queued_seconds)
        if part.goes_on():
            ticket.emit(Started(ticket.queued_seconds))
    going_on = [index for index, part in enumerate(parts) if not part.ended]
    if not going_on:
        return
    leader, work = tickets[going_on[0]], works[going_on[0]]
    try:
        if isinstance(work, BatchWork):
            leader.in_context(work.run, [parts[index] for index in going_on])
        else:
            parts[going_on[0]].finish(leader.in_context(work, leader.token, leader.emit))
    except LikenessError as error:
        _fail(parts, error)
    except BaseException as error:
        telemetry.log(_logger, logging.ERROR, "a piece of work failed", exc_info=error, kind=leader.kind)
        _fail(parts, Internal("the work failed; the service's log tells more"))
    else:
        _fail(parts, Internal("the work ended without a result"))


def _fail(parts: Sequence[Part[Any, Any]], error: LikenessError) -> None:
    for part in parts:
        part.fail(error)
