"""The one way a job changes: its message, an event with the next number, and what its webhook shall be told.

All three are written in one transaction, so that none is there without the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from likeness._training_convert import event_from_message
from likeness.trainer.v1 import trainer_service_pb2 as pb2
from likeness.training import document
from services.trainer.database import DELIVERIES, EVENTS, JOBS
from services.trainer.records import ENDED, JobRecord
from services.trainer.webhook_message import message_id, webhook_body

_SHARED = ("step", "total_steps", "stage_done", "stage_total")
_OPTIONAL = ("loss", "seconds_per_step")


@dataclass(frozen=True)
class ChangeRules:
    """How changes are told."""

    webhook_progress_seconds: float
    """Shortest time between two messages of progress to a job's webhook."""


def apply_change(
    connection: sa.Connection,
    record: JobRecord,
    message: pb2.TrainingJob,
    event: pb2.TrainingEvent | None,
    now: float,
    rules: ChangeRules,
    **columns: Any,
) -> pb2.TrainingJob:
    """Write a job's new message and, with an event, number and announce it. Returns the message as it is kept.

    Args:
        connection: a writing transaction that holds the job, see `records.lock`.
        record: the job before the change.
        message: the job after it.
        event: what happened; its number, time, state and progress are filled in here.
        now: seconds of the epoch.
        rules: how often progress is told.
        columns: further columns of the job to set.
    """
    if event is not None:
        message.sequence = record.message.sequence + 1
        _complete(event, message, now)
        connection.execute(
            EVENTS.insert().values(uid=record.uid, sequence=message.sequence, event=event.SerializeToString())
        )
        if _announce(connection, record, message, event, now, rules):
            columns["progress_sent_at"] = now
    if message.state in ENDED and record.message.state not in ENDED:
        message.end_time.FromMilliseconds(round(now * 1000))
        columns |= {"ended_at": now, "lease_expires_at": None}
    connection.execute(
        JOBS.update()
        .where(JOBS.c.uid == record.uid)
        .values(state=message.state, message=message.SerializeToString(), **columns)
    )
    return message


def _complete(event: pb2.TrainingEvent, message: pb2.TrainingJob, now: float) -> None:
    event.sequence = message.sequence
    event.time.FromMilliseconds(round(now * 1000))
    event.state = message.state
    for name in _SHARED:
        setattr(event, name, getattr(message, name))
    for name in _OPTIONAL:
        if message.HasField(name):  # type: ignore[arg-type]  # the stub wants literals
            setattr(event, name, getattr(message, name))
    if message.HasField("remaining"):
        event.remaining.CopyFrom(message.remaining)


def _announce(
    connection: sa.Connection,
    record: JobRecord,
    message: pb2.TrainingJob,
    event: pb2.TrainingEvent,
    now: float,
    rules: ChangeRules,
) -> bool:
    """Put an event up for the webhook; return whether it is one of progress that was put up."""
    if not record.request.webhook_url or message.webhook_disabled:
        return False
    progress = event.type == pb2.TrainingEvent.TYPE_PROGRESS
    if progress:
        if now - record.progress_sent_at < rules.webhook_progress_seconds:
            return False
        # A backend that was away for hours wants to know how things stand, not how they stood every half minute.
        waiting = DELIVERIES.c.progress & DELIVERIES.c.due_at.is_not(None)
        connection.execute(DELIVERIES.delete().where(DELIVERIES.c.uid == record.uid, waiting))
    told = document(event_from_message(event, message.job_id))
    body = webhook_body(message.job_id, message.character_id, told)
    connection.execute(
        DELIVERIES.insert().values(
            message_id=message_id(record.uid, event.sequence),
            uid=record.uid,
            progress=progress,
            body=body,
            attempt=0,
            due_at=now,
            outcome="",
        )
    )
    return progress
