"""Which characters are being forgotten: noted before anything is removed, so that it is finished whatever ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from likeness.errors import Conflict
from services.trainer.database import FORGETTING, Database


@dataclass(frozen=True)
class Forgetting:
    """The deletion of one character of a tenant."""

    tenant_id: str
    character_id: str
    begun_at: float
    """Seconds of the epoch; tells it from an earlier deletion of the same character."""
    done: bool = False
    job_ids: tuple[str, ...] = ()
    """The jobs that were there, removed or not yet."""
    lora_versions: tuple[int, ...] = ()
    """The versions of its LoRA that were removed."""
    error: str = ""
    """Why it could not go on the last time, for a person; it is tried again. Empty while nothing is wrong."""


class ForgetStore:
    """All methods block; they are safe in any thread and process over one database."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        """Work on the deletions of ``database``."""
        self._database = database
        self._clock = clock

    def begin(self, tenant_id: str, character_id: str) -> None:
        """Note that a character shall be forgotten; a deletion under way goes on, and is tried again now."""
        named = _named(tenant_id, character_id)
        with self._database.write() as connection:
            pending = sa.and_(*named, ~FORGETTING.c.done)
            if connection.execute(FORGETTING.update().where(pending).values(error="")).rowcount:
                return
            connection.execute(FORGETTING.delete().where(*named))
            connection.execute(
                FORGETTING.insert().values(
                    tenant_id=tenant_id,
                    character_id=character_id,
                    begun_at=self._clock(),
                    done=False,
                    job_ids="[]",
                    lora_versions="[]",
                    error="",
                )
            )

    def pending(self) -> list[Forgetting]:
        """Return the deletions that are not done, the oldest first."""
        query = sa.select(FORGETTING).where(~FORGETTING.c.done).order_by(FORGETTING.c.begun_at)
        with self._database.read() as connection:
            return list(map(_forgetting, connection.execute(query)))

    def get(self, tenant_id: str, character_id: str) -> Forgetting | None:
        """Return the deletion of a character; None when there is none, or when `take` has taken it."""
        with self._database.read() as connection:
            query = sa.select(FORGETTING).where(*_named(tenant_id, character_id))
            row = connection.execute(query).first()
        return None if row is None else _forgetting(row)

    def note_jobs(self, forgetting: Forgetting, job_ids: Iterable[str]) -> Forgetting:
        """Note jobs that are about to be removed; return the deletion with them."""
        known = tuple(sorted({*forgetting.job_ids, *job_ids}))
        if known != forgetting.job_ids:
            self._update(forgetting, job_ids=json.dumps(known))
        return replace(forgetting, job_ids=known)

    def note_error(self, forgetting: Forgetting, error: str) -> None:
        """Note why it can't go on now."""
        if error != forgetting.error:
            self._update(forgetting, error=error[:500])

    def finish(self, forgetting: Forgetting, lora_versions: Iterable[int]) -> None:
        """Note that all is gone; new jobs of the character may come."""
        self._update(forgetting, done=True, error="", lora_versions=json.dumps(list(lora_versions)))

    def take(self, tenant_id: str, character_id: str) -> None:
        """Forget the deletion itself, which is done: the character's name would be all that is left."""
        with self._database.write() as connection:
            connection.execute(FORGETTING.delete().where(*_named(tenant_id, character_id), FORGETTING.c.done))
        self._database.scrub()

    def take_before(self, moment: float) -> None:
        """Forget the deletions that were begun before a moment and are done, and that nobody has asked after."""
        with self._database.write() as connection:
            connection.execute(FORGETTING.delete().where(FORGETTING.c.begun_at < moment, FORGETTING.c.done))

    def _update(self, forgetting: Forgetting, **values: object) -> None:
        """Change a deletion; one that another trainer has finished, or that was begun anew since, stays as it is."""
        named = _named(forgetting.tenant_id, forgetting.character_id)
        this = (*named, FORGETTING.c.begun_at == forgetting.begun_at, ~FORGETTING.c.done)
        with self._database.write() as connection:
            connection.execute(FORGETTING.update().where(*this).values(**values))


def check_not_forgotten(connection: sa.Connection, tenant_id: str, character_id: str) -> None:
    """Return when nothing is being removed of a character. Raises Conflict."""
    pending = (*_named(tenant_id, character_id), ~FORGETTING.c.done)
    if connection.execute(sa.select(FORGETTING.c.done).where(*pending)).first() is not None:
        raise Conflict(
            f"character {character_id!r} is being deleted: create the job when that is done", field="character_id"
        )


def _named(tenant_id: str, character_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return FORGETTING.c.tenant_id == tenant_id, FORGETTING.c.character_id == character_id


def _forgetting(row: sa.Row[tuple[object, ...]]) -> Forgetting:
    values = row._mapping
    return Forgetting(
        tenant_id=values["tenant_id"],
        character_id=values["character_id"],
        begun_at=values["begun_at"],
        done=values["done"],
        job_ids=tuple(json.loads(values["job_ids"])),
        lora_versions=tuple(json.loads(values["lora_versions"])),
        error=values["error"],
    )
