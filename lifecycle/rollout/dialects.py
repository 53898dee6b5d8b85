"""The words in which SQLite and PostgreSQL differ."""

from __future__ import annotations

from typing import NamedTuple


class Dialect(NamedTuple):
    """How a database says what the ledger needs.

    Attributes:
        row_id: Type of a key that counts up and is never used again.
        moment: Type of a moment in UTC.
        alone: Statements by which a transaction that makes the tables has no other beside it.
        lock: Statements by which a transaction that writes has no other writer beside it.
        has_table: Gives a row if there is a table of the name ``?``.
        append_only: The triggers that keep the table ``deployments`` append-only, whoever connects.
    """

    row_id: str
    moment: str
    alone: tuple[str, ...]
    lock: tuple[str, ...]
    has_table: str
    append_only: tuple[str, ...]


SQLITE = Dialect(
    row_id="INTEGER PRIMARY KEY AUTOINCREMENT",
    moment="DATETIME",
    alone=(),  # its transactions are: BEGIN IMMEDIATE
    lock=(),
    has_table="SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
    append_only=(
        """CREATE TRIGGER deployments_no_update BEFORE UPDATE ON deployments
        BEGIN SELECT RAISE(ABORT, 'the deployment ledger is append-only'); END""",
        """CREATE TRIGGER deployments_no_delete BEFORE DELETE ON deployments
        BEGIN SELECT RAISE(ABORT, 'the deployment ledger is append-only'); END""",
        # INSERT OR REPLACE deletes without running delete triggers.
        """CREATE TRIGGER deployments_no_replace BEFORE INSERT ON deployments
        WHEN EXISTS (SELECT 1 FROM deployments WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'the deployment ledger is append-only'); END""",
    ),
)

POSTGRESQL = Dialect(
    row_id="BIGSERIAL PRIMARY KEY",
    moment="TIMESTAMP WITH TIME ZONE",
    alone=(f"SELECT pg_advisory_xact_lock({0x6C656467})",),  # "ledg"
    lock=("LOCK TABLE live IN EXCLUSIVE MODE",),
    has_table="SELECT 1 WHERE to_regclass(?) IS NOT NULL",
    append_only=(
        """CREATE FUNCTION deployments_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the deployment ledger is append-only'; END $$""",
        """CREATE TRIGGER deployments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON deployments
        FOR EACH STATEMENT EXECUTE FUNCTION deployments_append_only()""",
    ),
)
