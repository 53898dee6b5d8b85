"""The words in which SQLite and PostgreSQL differ."""

from __future__ import annotations

from typing import NamedTuple


class Dialect(NamedTuple):
    """How a database says what we need of it.

    Attributes:
        row_id: Type of a key that counts up and is never used again.
        moment: Type of a moment in UTC.
        binary: Type of bytes.
        has_table: Gives a row if there is a table of the name ``?``.
        alone: By which a transaction has no other with the same number beside it; ``{number}`` stands in it.
        guards: The triggers that keep a table append-only, whoever connects; ``{table}`` stands in them.
    """

    row_id: str
    moment: str
    binary: str
    has_table: str
    alone: tuple[str, ...]
    guards: tuple[str, ...]

    def lock(self, number: int) -> tuple[str, ...]:
        """Statements by which a transaction has no other that says the same number beside it."""
        return tuple(statement.format(number=number) for statement in self.alone)

    def append_only(self, table: str) -> tuple[str, ...]:
        """Statements after which rows of a table, whose key is ``id``, can only be added."""
        return tuple(statement.format(table=table) for statement in self.guards)


SQLITE = Dialect(
    row_id="INTEGER PRIMARY KEY AUTOINCREMENT",
    moment="DATETIME",
    binary="BLOB",
    has_table="SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
    alone=(),  # its transactions are: BEGIN IMMEDIATE
    guards=(
        """CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
        BEGIN SELECT RAISE(ABORT, 'the table {table} is append-only'); END""",
        """CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
        BEGIN SELECT RAISE(ABORT, 'the table {table} is append-only'); END""",
        # INSERT OR REPLACE deletes without running delete triggers.
        """CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
        WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'the table {table} is append-only'); END""",
    ),
)

POSTGRESQL = Dialect(
    row_id="BIGSERIAL PRIMARY KEY",
    moment="TIMESTAMP WITH TIME ZONE",
    binary="BYTEA",
    has_table="SELECT 1 WHERE to_regclass(?) IS NOT NULL",
    alone=("SELECT pg_advisory_xact_lock({number})",),
    guards=(
        """CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the table {table} is append-only'; END $$""",
        """CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()""",
    ),
)
