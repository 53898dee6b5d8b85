"""The subject keys of a table, cached with a bound; an erasure in any process empties the cache."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

from lifecycle.core.errors import ErasedError, KeyMissingError
from lifecycle.core.sql.databases import Connection
from lifecycle.core.sql.forks import tell_of_forks
from lifecycle.records.key_table import KeyTable
from lifecycle.records.subject_keys import SubjectKey

Generations = tuple[SubjectKey, ...]
_ATTEMPTS = 5
_STEADY_SECONDS = 1.0


class SqlKeyRing:
    """A ``KeyRing`` on the key table.

    Before anything cached is used, one count in the table is looked at: an erasure, a new generation or a
    destroyed table key, in whatever process, moves it, and nothing cached is used again.

    Args:
        table: The key table.
        cached: How many subjects' raw keys are kept in memory; about 300 bytes each.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lifecycle.records.erasure import Erasure
        >>> from lifecycle.records.identifiers import Identifiers
        >>> from lifecycle.records.providers.local_file import LocalKeyFile
        >>> home = Path(tempfile.mkdtemp())
        >>> table = KeyTable(f"sqlite:///{home}/keys.db", LocalKeyFile(home / "kek.json"))
        >>> [ada, bob] = Identifiers(table, "record_number").register(["MRN-1", "MRN-2"])
        >>> SqlKeyRing(table).newest([ada])
        [SubjectKey(generation=1)]
        >>> Erasure(table).erase([ada])
        >>> SqlKeyRing(table).every([ada, bob])
        [None, (SubjectKey(generation=1),)]
    """

    def __init__(self, table: KeyTable, cached: int = 100_000) -> None:
        self._table = table
        self._bound = cached
        self._cache: dict[bytes, Generations | None] = {}
        self._counted = -1
        self._lock = threading.Lock()
        self._steady = 0
        self._good_until = 0.0
        tell_of_forks(self)

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have been in the middle of a change."""
        self._lock, self._cache, self._counted = threading.Lock(), {}, -1
        self._steady, self._good_until = 0, 0.0

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Around one read of many files: the table is looked at once a second instead of for each of them."""
        with self._lock:
            self._steady, self._good_until = self._steady + 1, 0.0
        try:
            yield
        finally:
            with self._lock:
                self._steady, self._good_until = self._steady - 1, 0.0

    def newest(self, refs: Sequence[bytes]) -> list[SubjectKey]:
        """The key to write with, one per ref; see ``KeyRing``."""
        keys = [generations[-1] for generations in self.every(refs) if generations is not None]
        if erased := len(refs) - len(keys):
            raise ErasedError(
                f"{erased} of {len(refs)} subjects were erased: nothing of theirs can be sealed",
                hint="leave their records out; see `lifecycle records erase`",
            )
        return keys

    def every(self, refs: Sequence[bytes]) -> list[Generations | None]:
        """The keys of all generations, one tuple per ref; None: erased; see ``KeyRing``."""
        with self._lock:
            if time.monotonic() < self._good_until:
                with suppress(KeyError):
                    return [self._cache[ref] for ref in refs]
            return self._looked_up(refs)

    def _looked_up(self, refs: Sequence[bytes]) -> list[Generations | None]:
        with self._table.reading() as connection:
            counted = self._table.changed(connection)
            if counted != self._counted:
                self._cache, self._counted = {}, counted
            self._good_until = time.monotonic() + _STEADY_SECONDS if self._steady else 0.0
            unique = dict.fromkeys(refs)
            lacking = [ref for ref in unique if ref not in self._cache]
            loaded = self._load(connection, lacking) if lacking else {}
            found = [loaded[ref] if ref in loaded else self._cache[ref] for ref in refs]
            self._keep(loaded)
            return found

    def forget(self) -> None:
        """Drop all raw keys from memory."""
        with self._lock:
            self._cache = {}

    def _load(self, connection: Connection, refs: list[bytes]) -> dict[bytes, Generations | None]:
        for _ in range(_ATTEMPTS):
            if (keys := self._subjects(connection, refs)) is not None:
                break
        else:
            raise KeyMissingError(
                "a table key is gone that subject keys still name",
                hint="restore the key table from its backup",
            )
        missing = [ref for ref in refs if ref not in keys]
        query = "SELECT subject_ref FROM tombstones WHERE state <> 'requested' AND subject_ref IN ({among})"
        erased = {ref for (ref,) in connection.rows_among(query, missing)}
        if unknown := [ref for ref in missing if ref not in erased]:
            raise KeyMissingError(
                f"{len(unknown)} of {len(refs)} subjects have no key and were not erased, "
                f"{unknown[0].hex()} among them",
                hint="this is not the key table that belongs to these records, or an old one: restore it",
            )
        return {**keys, **dict.fromkeys(erased)}

    def _subjects(self, connection: Connection, refs: list[bytes]) -> dict[bytes, Generations | None] | None:
        """The keys of those that have any; None if a table key was replaced meanwhile."""
        query = (
            "SELECT subject_ref, generation, tek_version, wrapped FROM subjects "
            "WHERE subject_ref IN ({among}) ORDER BY subject_ref, generation"
        )
        rows = list(connection.rows_among(query, refs))
        keys = self._table.keys(connection, {row[2] for row in rows})
        if keys is None:
            return None
        found: dict[bytes, Generations | None] = {}
        for ref, generation, tek, wrapped in rows:
            key = SubjectKey(generation, keys[tek].unwrap(ref, generation, wrapped))
            found[ref] = (*(found.get(ref) or ()), key)
        return found

    def _keep(self, loaded: dict[bytes, Generations | None]) -> None:
        self._cache.update(loaded)
        if (over := len(self._cache) - self._bound) > 0:
            for ref in list(islice(self._cache, over)):  # the oldest first
                del self._cache[ref]
