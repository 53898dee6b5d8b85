"""The ledger's tables, and the triggers that keep it append-only whoever connects."""

from __future__ import annotations

from lifecycle.core.errors import StateError
from lifecycle.core.sql.databases import Connection
from lifecycle.core.sql.dialects import Dialect

SCHEMA_VERSION = 1

LOCK = 0x6C656467
"""By which writers of a ledger wait for each other: "ledg"."""

_TABLES = (
    """CREATE TABLE deployments (
        id {row_id},
        system TEXT NOT NULL,
        decided_at {moment} NOT NULL,
        as_of {moment} NOT NULL,
        actor TEXT NOT NULL,
        decision TEXT NOT NULL,
        digest TEXT NOT NULL,
        uri TEXT NOT NULL,
        version TEXT NOT NULL,
        previous TEXT,
        evidence JSON NOT NULL
    )""",  # every decision
    "CREATE INDEX deployments_by_system ON deployments (system, id)",
    """CREATE TABLE live (
        system TEXT PRIMARY KEY,
        deployment BIGINT NOT NULL REFERENCES deployments (id)
    )""",  # the switch: which deployment is live, one row per system
    "CREATE TABLE ledger_schema (version INTEGER PRIMARY KEY)",
)


def create_tables(connection: Connection, dialect: Dialect) -> None:
    """Make the tables where they are missing; safe when several processes start at once.

    Args:
        connection: Inside a transaction.
        dialect: Of its database.

    Raises:
        StateError: The ledger was made by a newer version of lifecycle.
    """
    for statement in dialect.lock(LOCK):
        connection.execute(statement)
    if not have_tables(connection, dialect):
        for table in _TABLES:
            connection.execute(table.format(row_id=dialect.row_id, moment=dialect.moment))
        for trigger in dialect.append_only("deployments"):
            connection.execute(trigger)
        connection.execute("INSERT INTO ledger_schema (version) VALUES (?)", SCHEMA_VERSION)
    check_version(connection)


def have_tables(connection: Connection, dialect: Dialect) -> bool:
    """Whether the ledger's tables have been made."""
    return bool(connection.execute(dialect.has_table, "ledger_schema"))


def check_version(connection: Connection) -> None:
    """Refuse a ledger whose tables this version does not know.

    Raises:
        StateError: The ledger was made by a newer version of lifecycle.
    """
    found = [row["version"] for row in connection.execute("SELECT version FROM ledger_schema")]
    if found != [SCHEMA_VERSION]:
        version = found[0] if found else None
        raise StateError(
            f"the ledger's tables are of version {version}; this lifecycle knows version {SCHEMA_VERSION}",
            hint="use the version of lifecycle that wrote the ledger",
        )
