"""The outbox: messages to webhooks that wait, and what became of the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.database import DELIVERIES, JOBS, Database
from services.trainer.records import lock

Clock = Callable[[], float]


@dataclass(frozen=True)
class Delivery:
    """A message that is to be sent now."""

    message_id: str
    uid: str
    url: str
    secret: str = field(repr=False)
    """The job's own; empty for the deployment's."""
    body: str
    attempt: int
    """From 1."""


class DeliveryStore:
    """All methods block; they are safe in any thread and process over one database."""

    def __init__(self, database: Database, *, clock: Clock = time.time) -> None:
        """Work on the messages of ``database``."""
        self._database = database
        self._clock = clock

    def take_due(self, limit: int, hold_seconds: float) -> list[Delivery]:
        """Take messages whose time has come, at most one a job, the oldest first.

        They are due again after ``hold_seconds``, should the process end before it says what became of them.
        """
        taken: list[Delivery] = []
        with self._database.write() as connection:
            now = self._clock()
            query = (
                sa.select(DELIVERIES, JOBS.c.request)
                .join(JOBS, JOBS.c.uid == DELIVERIES.c.uid)
                .where(DELIVERIES.c.due_at <= now)
                .order_by(DELIVERIES.c.due_at, DELIVERIES.c.message_id)
                .limit(limit * 8)
                .with_for_update(of=DELIVERIES, skip_locked=True)
            )
            for row in connection.execute(query).all():
                if len(taken) == limit:
                    break
                if any(delivery.uid == row.uid for delivery in taken):
                    continue
                request = pb2.CreateTrainingJobRequest.FromString(row.request)
                connection.execute(
                    DELIVERIES.update()
                    .where(DELIVERIES.c.message_id == row.message_id)
                    .values(attempt=row.attempt + 1, due_at=now + hold_seconds)
                )
                taken.append(
                    Delivery(
                        row.message_id, row.uid, request.webhook_url, request.webhook_secret, row.body, row.attempt + 1
                    )
                )
        return taken

    def settle(self, delivery: Delivery, outcome: str, retry_at: float | None) -> None:
        """Note what became of a message; it is sent again at ``retry_at``, or never when that is None."""
        with self._database.write() as connection:
            same = (DELIVERIES.c.message_id == delivery.message_id) & (DELIVERIES.c.attempt == delivery.attempt)
            connection.execute(DELIVERIES.update().where(same).values(due_at=retry_at, outcome=outcome[:200]))

    def disable(self, delivery: Delivery, outcome: str) -> None:
        """Send nothing more for a job: its webhook's server wants none."""
        with self._database.write() as connection:
            record = lock(connection, JOBS.c.uid == delivery.uid)
            if record is None:
                return
            message = pb2.TrainingJob()
            message.CopyFrom(record.message)
            message.webhook_disabled = True
            connection.execute(
                JOBS.update().where(JOBS.c.uid == record.uid).values(message=message.SerializeToString())
            )
            waiting = (DELIVERIES.c.uid == record.uid) & DELIVERIES.c.due_at.is_not(None)
            connection.execute(DELIVERIES.update().where(waiting).values(due_at=None, outcome=outcome[:200]))

    def outcomes(self, uid: str) -> dict[str, str]:
        """Return what became of a job's messages, by their names; empty for those that were not tried."""
        query = sa.select(DELIVERIES.c.message_id, DELIVERIES.c.outcome).where(DELIVERIES.c.uid == uid)
        with self._database.read() as connection:
            return {name: outcome for name, outcome in connection.execute(query)}
