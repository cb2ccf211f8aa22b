"""What is logged of a database's errors: which constraint, and nothing of rows or parameters."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from services.trainer.database import DELIVERIES, EVENTS, JOBS, Database

SECRET = "whsec-of-a-customer"


def row(**values: Any) -> dict[str, Any]:
    """Return a job's row that holds the secret wherever it can."""
    return {
        "uid": SECRET,
        "tenant_id": SECRET,
        "job_id": SECRET,
        "character_id": SECRET,
        "request_sha256": SECRET,
        "created_at": 1.0,
        "state": 1,
        "attempt": 0,
        "failures": 0,
        "not_before": 0.0,
        "request": SECRET.encode(),
        "photos": SECRET,
        "message": SECRET.encode(),
        "progress_sent_at": 0.0,
        **values,
    }


def refused(database: Database, *steps: tuple[Any, ...]) -> DBAPIError:
    """Return the error of statements, each with its parameters, of which the last one must fail."""
    with pytest.raises(DBAPIError) as caught, database.write() as connection:
        for step in steps:
            connection.execute(*step)
    return caught.value


def logged(error: BaseException) -> str:
    """Return an error as a log has it: with its causes, and in its other forms."""
    causes = [error, error.__cause__, getattr(error, "orig", None)]
    return "".join(traceback.format_exception(error)) + "".join(f"{cause}{cause!r}" for cause in causes)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([(JOBS.insert(), row()), (JOBS.insert(), row())], "jobs"),
        ([(JOBS.insert(), row()), (JOBS.insert(), row(uid="b"))], "job_id"),
        ([(JOBS.insert(), row(photos=None))], "photos"),
        ([(EVENTS.insert(), {"uid": SECRET, "sequence": 1, "event": SECRET.encode()})], "constraint"),
        ([(JOBS.insert(), [row(), row()])], "jobs"),
        ([(JOBS.insert().values([row(), row()]),)], "jobs"),
        ([(DELIVERIES.insert(), {"message_id": "a", "uid": "b", "body": SECRET, "outcome": SECRET})], "null"),
    ],
    ids=["primary key", "unique", "not null", "foreign key", "many rows", "many values", "missing columns"],
)
def test_a_violated_constraint_is_named_without_its_row(database: Database, steps: Any, words: str) -> None:
    error = refused(database, *steps)
    assert isinstance(error, IntegrityError)
    text = logged(error)
    assert words in text.lower()
    assert SECRET not in text
    assert SECRET.encode().hex() not in text


@pytest.mark.parametrize("kind", [sa.Integer, sa.DateTime, sa.JSON], ids=["integer", "time", "json"])
def test_a_value_that_the_server_refuses_is_not_quoted(postgres_url: str, kind: Any) -> None:
    database = Database(postgres_url)
    try:
        as_text = sa.cast(sa.bindparam("value", SECRET, sa.Text), sa.Text)
        error = refused(database, (sa.select(sa.cast(as_text, kind)),))
        assert isinstance(error, DataError)
        text = logged(error)
        assert "SQLSTATE 22" in text
        assert SECRET not in text
    finally:
        database.close()


def test_an_error_goes_on_telling_its_kind(database: Database) -> None:
    error = refused(database, (sa.text("SELECT nothing_of_that_name"),))
    assert "nothing_of_that_name" in str(error)
