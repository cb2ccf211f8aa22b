"""A job as the database keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from likeness.trainer.v1 import trainer_service_pb2 as pb2
from services.trainer.database import JOBS

State = pb2.TrainingJob

ENDED = frozenset({State.STATE_SUCCEEDED, State.STATE_FAILED, State.STATE_CANCELLED})
"""States after which nothing more happens."""


@dataclass(frozen=True)
class StoredPhoto:
    """A photo of a job in the artifact store."""

    uri: str
    name: str
    """What the client calls it: a URL, a name within the archive, or ``images[3]``."""
    caption: str = ""


@dataclass(frozen=True)
class JobRecord:
    """One job. What `message` and `request` hold must not be changed."""

    uid: str
    """Random, 32 hexadecimal digits; names folders and cluster objects, which a job's own name never does."""
    tenant_id: str
    request_sha256: str
    created_at: float
    """Seconds of the epoch, as all times here."""
    attempt: int
    failures: int
    """Attempts lost since the last progress."""
    lease_expires_at: float | None
    """Until when the attempt holds the job; None while none does."""
    cancel_requested_at: float | None
    request: pb2.CreateTrainingJobRequest
    """What was asked for, without the photos."""
    photos: tuple[StoredPhoto, ...]
    message: pb2.TrainingJob
    """The job as clients see it; its queue position is not kept."""
    publish_sha256: str | None
    """SHA-256 of the file that was to be handed to the registry."""
    progress_sent_at: float
    """When progress was last put up for the webhook."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.message.state in ENDED


def published_loras(job: pb2.TrainingJob) -> list[pb2.PublishedLora]:
    """Return all that was published of a job."""
    return [*([job.lora] if job.HasField("lora") else []), *job.further_loras]


def record_of(row: sa.Row[tuple[object, ...]]) -> JobRecord:
    """Return the job of a row of all columns of `JOBS`."""
    values = row._mapping
    return JobRecord(
        uid=values["uid"],
        tenant_id=values["tenant_id"],
        request_sha256=values["request_sha256"],
        created_at=values["created_at"],
        attempt=values["attempt"],
        failures=values["failures"],
        lease_expires_at=values["lease_expires_at"],
        cancel_requested_at=values["cancel_requested_at"],
        request=pb2.CreateTrainingJobRequest.FromString(values["request"]),
        photos=tuple(StoredPhoto(**photo) for photo in json.loads(values["photos"])),
        message=pb2.TrainingJob.FromString(values["message"]),
        publish_sha256=values["publish_sha256"],
        progress_sent_at=values["progress_sent_at"],
    )


def photos_json(photos: tuple[StoredPhoto, ...]) -> str:
    """Return photos as the database keeps them."""
    return json.dumps([asdict(photo) for photo in photos])


def lock(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> JobRecord | None:
    """Return the job that meets conditions, nobody else's to change until the transaction ends; None without one."""
    row = connection.execute(sa.select(JOBS).where(*conditions).with_for_update()).first()
    return None if row is None else record_of(row)
