"""The key table: a database of its own, and the few keys in it that the key provider wraps."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lifecycle.core.clock import SystemClock
from lifecycle.core.errors import KeyMissingError
from lifecycle.core.ports import Clock
from lifecycle.core.sql.databases import Connection, Use, open_database
from lifecycle.core.sql.forks import tell_of_forks
from lifecycle.records import key_schema
from lifecycle.records.providers.port import KeyProvider, WrappedKey
from lifecycle.records.subject_keys import SECRET_BYTES
from lifecycle.records.wrapping import TableKey

USE = Use("key table", "LIFECYCLE_KEYS_URL", private=True)


def subjects_of(group: str) -> str:
    """The purpose of the keys that wrap the subject keys of a dataset group (TEK)."""
    return f"subjects/{group}"


def index_of(field: str) -> str:
    """The purpose of the keys of a column's blind index."""
    return f"index/{field}"


class KeyTable:
    """The database of keys, with the provider that protects it.

    The provider is asked before a transaction begins, never inside one: where it is slow, lost or wrong,
    nothing is written and nobody waits for a lock.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/database``. The file is made by the first write.
        provider: Of the key encryption key.
        clock: Says when something was done.
    """

    def __init__(self, url: str, provider: KeyProvider, clock: Clock | None = None) -> None:
        self.database = open_database(url, USE)
        self.provider = provider
        self.clock = clock or SystemClock()
        self._made = False
        self._unwrapped: dict[int, TableKey] = {}
        self._counted = -1
        self._lock = threading.Lock()
        tell_of_forks(self)

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have been in the middle of a change."""
        self._lock, self._unwrapped, self._counted = threading.Lock(), {}, -1

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees what was committed.

        Raises:
            KeyMissingError: There is no key table.
            UnavailableError: The database does not answer.
        """
        if not self.database.exists():
            raise self._missing()
        with self.database.reading() as connection:
            if not self._made:
                if not key_schema.have_tables(connection, self.database.dialect):
                    raise self._missing()
                key_schema.check_version(connection)
                self._made = True
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction with no other writer beside it.

        Raises:
            KeyMissingError: There was a key table, and it is gone.
            StorageError: The database refuses to store.
            UnavailableError: Another writer holds it for too long, or it does not answer.
        """
        if self._made and not self.database.exists():
            raise self._missing()
        self.database.make_room()
        with self.database.writing() as connection:
            for statement in self.database.dialect.lock(key_schema.LOCK):
                connection.execute(statement)
            if not self._made:
                key_schema.create_tables(connection, self.database.dialect)
            yield connection
        self._made = True

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around a flow or a server that reads many small things: each then takes a third of the time."""
        self.make()
        with self.database.kept_open():
            yield

    def make(self) -> None:
        """Make the tables where they are missing."""
        if not self._made:
            with self.writing():
                pass

    def changed(self, connection: Connection) -> int:
        """The count of what made cached keys stale, in any process; our own are dropped when it moved."""
        [(counted,)] = connection.rows("SELECT counted FROM key_changes")
        with self._lock:
            if counted != self._counted:
                self._counted = counted
                self._unwrapped = {}
        return int(counted)

    @staticmethod
    def count_change(connection: Connection) -> None:
        """Let all caches, in any process, drop what they hold once this transaction is committed."""
        connection.execute("UPDATE key_changes SET counted = counted + 1")

    def keys(self, connection: Connection, versions: Iterable[int]) -> dict[int, TableKey] | None:
        """Raw table keys; None if one has moved since the row that names it was read: read that again.

        Raises:
            KeyMissingError, IntegrityError, ConfigError, UnavailableError: As the provider says.
        """
        wanted = set(versions)
        held = self._unwrapped
        if lacking := wanted - held.keys():
            query = "SELECT version, purpose, kek_version, wrapped FROM table_keys WHERE state <> 'destroyed'"
            rows = {row[0]: row for row in connection.rows(query)}
            if not lacking <= rows.keys():
                return None
            for version in lacking:
                held[version] = self._unwrap(*rows[version])
        return {version: held[version] for version in wanted}

    def live(self, connection: Connection, purpose: str) -> list[int]:
        """The versions of a purpose that are not destroyed, oldest first; the last one is active."""
        query = "SELECT version FROM table_keys WHERE purpose = ? AND state <> 'destroyed' ORDER BY version"
        return [version for (version,) in connection.rows(query, purpose)]

    def live_keys(self, purpose: str, *, make: bool = False) -> list[TableKey]:
        """The raw keys of a purpose, oldest first.

        Args:
            purpose: What they are for.
            make: Make the first one where there is none, and the tables too.
        """
        if make:
            self.make()
        while True:
            with self.reading() as connection:
                self.changed(connection)
                versions = self.live(connection, purpose)
                keys = self.keys(connection, versions) if versions else None
            if keys:
                return [keys[version] for version in versions]
            if not versions and not make:
                return []
            if not versions:
                self.add_key(purpose, only_first=True)

    def add_key(self, purpose: str, *, only_first: bool = False) -> None:
        """Make a new key of a purpose, from then on the active one.

        Args:
            purpose: What it is for.
            only_first: Only if there is none.
        """
        self.make()
        with self.reading() as connection:
            first = not connection.rows("SELECT 1 FROM table_keys LIMIT 1")
        if first and not self.provider.versions():
            self.provider.rotate()
        secret = os.urandom(SECRET_BYTES)
        while True:
            with self.reading() as connection:
                version = _following(connection)
            wrapped = self.provider.wrap(secret, context(version, purpose))
            with self.writing() as connection:
                if only_first and self.live(connection, purpose):
                    return
                [(kek,)] = connection.rows("SELECT COALESCE(MAX(kek_version), 0) FROM table_keys")
                if version != _following(connection) or wrapped.version < kek:
                    continue  # another key took the number, or the provider's key was rotated
                connection.execute(
                    "UPDATE table_keys SET state = 'retiring' WHERE purpose = ? AND state = 'active'", purpose
                )
                connection.execute(
                    "INSERT INTO table_keys (version, purpose, state, kek_version, wrapped) "
                    "VALUES (?, ?, 'active', ?, ?)",
                    *(version, purpose, wrapped.version, wrapped.blob),
                )
                return

    def close(self) -> None:
        """Let go of the connection that is kept (PostgreSQL only), and of the raw keys."""
        self._unwrapped = {}
        self._counted = -1
        self.database.close()

    def _missing(self) -> KeyMissingError:
        return KeyMissingError(
            f"there is no key table in {self.database.description}",
            hint=f"restore it from its backup, or set {USE.setting}; registering a subject makes a new one",
        )

    def _unwrap(self, version: int, purpose: str, kek_version: int, wrapped: bytes) -> TableKey:
        secret = self.provider.unwrap(WrappedKey(kek_version, wrapped), context(version, purpose))
        return TableKey(version, secret)


def context(version: int, purpose: str) -> bytes:
    """What a wrapped table key is tied to."""
    return f"lifecycle table key {version} {purpose}".encode()


def _following(connection: Connection) -> int:
    [(newest,)] = connection.rows("SELECT COALESCE(MAX(version), 0) FROM table_keys")
    return int(newest) + 1
