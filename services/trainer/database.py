"""The trainer's database: its tables, and transactions over SQLite or PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

_metadata = sa.MetaData()

JOBS = sa.Table(
    "jobs",
    _metadata,
    sa.Column("uid", sa.String(32), primary_key=True, comment="random; names folders and cluster objects"),
    sa.Column("tenant_id", sa.String(64), nullable=False),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("character_id", sa.String(64), nullable=False, index=True),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("state", sa.Integer, nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, comment="lost attempts since the last progress"),
    sa.Column("lease_expires_at", sa.Float, comment="null while no attempt holds the job"),
    sa.Column("not_before", sa.Float, nullable=False, comment="when the next attempt may begin"),
    sa.Column("cancel_requested_at", sa.Float),
    sa.Column("request", sa.LargeBinary, nullable=False, comment="CreateTrainingJobRequest without its photos"),
    sa.Column("photos", sa.Text, nullable=False, comment="JSON: URIs in the artifact store, names and captions"),
    sa.Column("message", sa.LargeBinary, nullable=False, comment="TrainingJob"),
    sa.Column("publish_sha256", sa.String(64), comment="set before a file is handed to the registry"),
    sa.Column("progress_sent_at", sa.Float, nullable=False),
    sa.UniqueConstraint("tenant_id", "job_id"),
    sa.UniqueConstraint("tenant_id", "idempotency_key"),
)
EVENTS = sa.Table(
    "events",
    _metadata,
    sa.Column("uid", sa.ForeignKey("jobs.uid", ondelete="CASCADE"), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event", sa.LargeBinary, nullable=False, comment="TrainingEvent"),
)
DATASETS = sa.Table(
    "datasets",
    _metadata,
    sa.Column("uid", sa.ForeignKey("jobs.uid", ondelete="CASCADE"), primary_key=True),
    sa.Column("dataset", sa.LargeBinary, nullable=False, comment="TrainingJob with its dataset alone"),
)
DELIVERIES = sa.Table(
    "deliveries",
    _metadata,
    sa.Column("message_id", sa.String(64), primary_key=True),
    sa.Column("uid", sa.ForeignKey("jobs.uid", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("progress", sa.Boolean, nullable=False, comment="a later one takes its place"),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Float, index=True, comment="null when it was delivered or given up"),
    sa.Column("outcome", sa.String(200), nullable=False),
)
UPLOADS = sa.Table(
    "uploads",
    _metadata,
    sa.Column("uri", sa.String(256), primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
)
TENANTS = sa.Table(
    "tenants",
    _metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("served_at", sa.Float, nullable=False, comment="when one of its jobs was last begun"),
)
FORGETTING = sa.Table(
    "forgetting",
    _metadata,
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("character_id", sa.String(64), primary_key=True),
    sa.Column("begun_at", sa.Float, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False, comment="kept until whoever asked for it has seen it"),
    sa.Column("job_ids", sa.Text, nullable=False, comment="JSON"),
    sa.Column("lora_versions", sa.Text, nullable=False, comment="JSON"),
    sa.Column("error", sa.String(500), nullable=False),
)
SUPERVISION = sa.Table(
    "supervision",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seen_at", sa.Float, nullable=False, comment="when a trainer was last there"),
)

_WRITES = "likeness_writes"
_DATA_EXCEPTIONS = "22"
"""Class of the SQLSTATEs whose messages quote the value that was refused."""


class DatabaseError(ValueError):
    """The database's URL cannot be used."""


class Database:
    """Transactions over one database. Safe in any thread; several processes may share one.

    Errors are logged, and rows and parameters name characters and hold keys: no error that is raised here shows any.
    """

    def __init__(self, url: str, *, patience_seconds: float = 15.0) -> None:
        """Open it.

        Args:
            url: ``sqlite:///<path>`` or ``postgresql://user:password@host/name``. A SQLite file's folder is made.
            patience_seconds: how long to wait for another's transaction. PostgreSQL ends one that is silent for longer.

        Raises:
            DatabaseError: the URL names neither.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise DatabaseError("database_url: not a URL such as sqlite:///var/trainer.db") from None
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
            connect_args: dict[str, Any] = {"timeout": patience_seconds}
            self.engine = sa.create_engine(parsed, connect_args=connect_args, hide_parameters=True)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        elif parsed.get_backend_name() == "postgresql":
            limit = round(patience_seconds * 1000)
            options = f"-c lock_timeout={limit} -c idle_in_transaction_session_timeout={limit}"
            self.engine = sa.create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                connect_args={"options": options},
                hide_parameters=True,
            )
            sa.event.listen(self.engine, "handle_error", _hide_row)
        else:
            raise DatabaseError("database_url: must begin with sqlite:/// and a file's path, or postgresql://")
        self._writer = self.engine.execution_options(**{_WRITES: True})

    def create_tables(self) -> None:
        """Make the tables that are missing. Several processes may do so at once."""
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7311943)"))
            _metadata.create_all(connection)
            if connection.execute(sa.select(SUPERVISION.c.id)).first() is None:
                connection.execute(SUPERVISION.insert().values(id=1, seen_at=0.0))

    def drop_tables(self) -> None:
        """Remove all tables, with all that is in them."""
        with self._writer.begin() as connection:
            _metadata.drop_all(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Read in one transaction."""
        with self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Write in one transaction; it is undone when the block raises."""
        with self._writer.begin() as connection:
            yield connection

    def scrub(self) -> None:
        """Let nothing stay in SQLite's files of what was deleted; PostgreSQL sees to that itself, by its vacuum."""
        if self.engine.dialect.name == "sqlite":
            # Deleted rows are overwritten with zeros (`secure_delete`), and here their copies in the log go.
            with contextlib.closing(self.engine.raw_connection()) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # Transactions are begun by `_begin_sqlite`: the module's own begin late, and then fail where others write.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _hide_row(context: sa.engine.ExceptionContext) -> None:
    """Leave of a PostgreSQL error its message alone.

    What comes below it, such as DETAIL, shows keys and whole rows. SQLite names columns and constraints and no more.
    Changed in place, since the driver's own error is printed as the cause.
    """
    cause, told = context.original_exception, context.sqlalchemy_exception
    message = getattr(getattr(cause, "diag", None), "message_primary", None)
    if message is None:  # the client's own: of a connection, not of a row
        return
    state = getattr(cause, "sqlstate", None) or ""
    text = f"a value was refused (SQLSTATE {state})" if state.startswith(_DATA_EXCEPTIONS) else message
    cause.args = (text,)
    if told is not None:
        told.args = (f"({type(cause).__module__}.{type(cause).__name__}) {text}",)


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
