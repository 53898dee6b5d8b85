"""The tables of keys, of consent and of the audit trail: one database, apart from everything immutable."""

from __future__ import annotations

from lifecycle.core.errors import StateError
from lifecycle.core.sql.databases import Connection
from lifecycle.core.sql.dialects import Dialect

SCHEMA_VERSION = 2
"""1 had blind indexes of HMAC-SHA256, and was in no release."""

LOCK = 0x6B657973
"""By which writers wait for each other: "keys"."""

_TABLES = (
    "CREATE TABLE key_schema (version INTEGER PRIMARY KEY)",
    # Counts what makes a cached key stale; caches look at it before each use.
    "CREATE TABLE key_changes (counted BIGINT NOT NULL)",
    "INSERT INTO key_changes (counted) VALUES (0)",
    # The few keys that the provider's key wraps: of subjects (TEK), per dataset group, and of blind indexes,
    # per column. The newest of a purpose is active, older ones retire, and at count zero are destroyed.
    """CREATE TABLE table_keys (
        version BIGINT PRIMARY KEY,
        purpose TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('active', 'retiring', 'destroyed')),
        kek_version BIGINT NOT NULL,
        wrapped {binary} NOT NULL
    )""",
    """CREATE TABLE subjects (
        subject_ref {binary} NOT NULL,
        generation INTEGER NOT NULL,
        tek_version BIGINT NOT NULL REFERENCES table_keys (version),
        wrapped {binary} NOT NULL,
        PRIMARY KEY (subject_ref, generation)
    ) {keyed}""",
    "CREATE INDEX subjects_by_tek ON subjects (tek_version)",
    """CREATE TABLE identifiers (
        field TEXT NOT NULL,
        version BIGINT NOT NULL,
        blind {binary} NOT NULL,
        subject_ref {binary} NOT NULL,
        PRIMARY KEY (field, version, blind)
    ) {keyed}""",
    "CREATE INDEX identifiers_by_subject ON identifiers (subject_ref)",
    # Identifiers of erased subjects: neither a ref nor a moment stands beside them, nor their order.
    """CREATE TABLE refused_identifiers (
        field TEXT NOT NULL,
        version BIGINT NOT NULL,
        digest {binary} NOT NULL,
        PRIMARY KEY (field, version, digest)
    ) {keyed}""",
    """CREATE TABLE tombstones (
        subject_ref {binary} PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('requested', 'erased', 'scrubbed')),
        requested_at {moment} NOT NULL,
        erased_at {moment}
    )""",
    """CREATE TABLE consents (
        id {row_id},
        subject_ref {binary} NOT NULL,
        purpose TEXT NOT NULL,
        granted INTEGER NOT NULL,
        since {moment} NOT NULL,
        recorded_at {moment} NOT NULL
    )""",
    "CREATE INDEX consents_by_subject ON consents (subject_ref, purpose, since)",
    """CREATE TABLE audit (
        id BIGINT PRIMARY KEY,
        entry TEXT NOT NULL,
        digest TEXT NOT NULL
    )""",
    """CREATE TABLE audit_checkpoints (
        id BIGINT PRIMARY KEY REFERENCES audit (id),
        signature TEXT NOT NULL
    )""",
    # Which subjects: the refs themselves, in order, 16 bytes each; named by their SHA-256.
    "CREATE TABLE audit_subjects (digest TEXT PRIMARY KEY, refs {binary} NOT NULL)",
    "CREATE TABLE audit_segments (segment TEXT PRIMARY KEY, digest TEXT NOT NULL)",
)
_APPEND_ONLY = ("consents", "audit", "audit_checkpoints")


def create_tables(connection: Connection, dialect: Dialect) -> None:
    """Make the tables where they are missing; safe when several processes start at once.

    Args:
        connection: Inside a transaction that has no other writer beside it.
        dialect: Of its database.

    Raises:
        StateError: The tables were made by another version of lifecycle.
    """
    if not have_tables(connection, dialect):
        for table in _TABLES:
            words = {name: getattr(dialect, name) for name in ("row_id", "moment", "binary", "keyed")}
            connection.execute(table.format(**words))
        for table in _APPEND_ONLY:
            for trigger in dialect.append_only(table):
                connection.execute(trigger)
        connection.execute("INSERT INTO key_schema (version) VALUES (?)", SCHEMA_VERSION)
    check_version(connection)


def have_tables(connection: Connection, dialect: Dialect) -> bool:
    """Whether the tables have been made."""
    return bool(connection.execute(dialect.has_table, "key_schema"))


def check_version(connection: Connection) -> None:
    """Refuse tables that this version does not know.

    Raises:
        StateError: The tables were made by another version of lifecycle.
    """
    found = [version for (version,) in connection.rows("SELECT version FROM key_schema")]
    if found != [SCHEMA_VERSION]:
        raise StateError(
            f"the key table is of version {found[0] if found else None}; "
            f"this lifecycle knows version {SCHEMA_VERSION}",
            hint="use the version of lifecycle that wrote it",
        )
