"""The ledger's tables, and the triggers that keep it append-only whoever connects."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    select,
)

from lifecycle.core.errors import StateError

SCHEMA_VERSION = 1
_SCHEMA_LOCK = 0x6C656467  # PostgreSQL's advisory lock for creating the tables: "ledg"


class UtcMoment(TypeDecorator[datetime]):
    """An aware moment, kept in UTC; SQLite has no time zones, so there the text itself is UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To the database."""
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


_RowId = BigInteger().with_variant(Integer, "sqlite")
metadata = MetaData()
deployments = Table(
    "deployments",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("system", Text, nullable=False),
    Column("decided_at", UtcMoment, nullable=False),
    Column("as_of", UtcMoment, nullable=False),
    Column("actor", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("previous", Text),
    Column("evidence", JSON, nullable=False),
    Index("deployments_by_system", "system", "id"),
    sqlite_autoincrement=True,
)
"""Every decision. Rows are never changed or deleted: triggers refuse it."""

live = Table(
    "live",
    metadata,
    Column("system", Text, primary_key=True),
    Column("deployment", _RowId, ForeignKey(deployments.c.id), nullable=False),
)
"""The switch: which deployment is live, one row per system."""

ledger_schema = Table("ledger_schema", metadata, Column("version", Integer, primary_key=True))

_APPEND_ONLY = {
    "sqlite": (
        """CREATE TRIGGER deployments_no_update BEFORE UPDATE ON deployments
        BEGIN SELECT RAISE(ABORT, 'the deployment ledger is append-only'); END""",
        """CREATE TRIGGER deployments_no_delete BEFORE DELETE ON deployments
        BEGIN SELECT RAISE(ABORT, 'the deployment ledger is append-only'); END""",
        # INSERT OR REPLACE deletes without running delete triggers.
        """CREATE TRIGGER deployments_no_replace BEFORE INSERT ON deployments
        WHEN EXISTS (SELECT 1 FROM deployments WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'the deployment ledger is append-only'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION deployments_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the deployment ledger is append-only'; END $$""",
        """CREATE TRIGGER deployments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON deployments
        FOR EACH STATEMENT EXECUTE FUNCTION deployments_append_only()""",
    ),
}


def create_tables(connection: Connection) -> None:
    """Make the tables where they are missing; safe when several processes start at once.

    Args:
        connection: Inside a transaction that nobody else can write beside (``BEGIN IMMEDIATE`` on SQLite;
            on PostgreSQL an advisory lock is taken here).

    Raises:
        StateError: The ledger was made by a newer version of lifecycle.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
    if not connection.dialect.has_table(connection, ledger_schema.name):
        metadata.create_all(connection)
        for trigger in _APPEND_ONLY[connection.dialect.name]:
            connection.exec_driver_sql(trigger)
        connection.execute(ledger_schema.insert().values(version=SCHEMA_VERSION))
    check_version(connection)


def check_version(connection: Connection) -> None:
    """Refuse a ledger whose tables this version does not know.

    Raises:
        StateError: The ledger was made by a newer version of lifecycle.
    """
    found = connection.scalar(select(ledger_schema.c.version))
    if found != SCHEMA_VERSION:
        raise StateError(
            f"the ledger's tables are of version {found}; this lifecycle knows version {SCHEMA_VERSION}",
            hint="use the version of lifecycle that wrote the ledger",
        )
