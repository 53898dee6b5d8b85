"""New keys for all subjects of a dataset group: what is sealed from now on comes under them."""

from __future__ import annotations

from lifecycle.core.errors import StateError
from lifecycle.records.key_table import KeyTable, subjects_of
from lifecycle.records.rotation import BATCH, Progress, Rotation

_OF_GROUP = (
    "FROM (SELECT s.subject_ref AS ref, MAX(s.generation) AS newest FROM subjects s "
    "JOIN table_keys k ON k.version = s.tek_version WHERE k.purpose = ? GROUP BY s.subject_ref) AS held "
)


class Renewal:
    """Gives every subject of a group a key of a new generation; older ones open what they sealed.

    Args:
        table: The key table.
        group: The dataset group.
    """

    def __init__(self, table: KeyTable, group: str) -> None:
        self._table = table
        self._group = group
        self._rotation = Rotation(table)

    def next_generation(self) -> int:
        """The generation after the newest that any subject of the group has.

        Raises:
            StateError: The group has no subjects.
        """
        with self._table.reading() as connection:
            query = f"SELECT MAX(newest) {_OF_GROUP}"
            [(newest,)] = connection.rows(query, subjects_of(self._group))
        if newest is None:
            raise StateError(f"group {self._group!r} has no subjects", hint="register some first")
        return int(newest) + 1

    def run(self, to: int, progress: Progress) -> int:
        """Renew whoever has no key of this generation yet; how many there were.

        After a crash, the same ``to`` does the rest: subjects that have it are left alone. One who joined
        late gets the next number of their own, not this one.

        Args:
            to: The generation, as ``next_generation`` said before the first run.
            progress: Told after each batch.
        """
        purpose = subjects_of(self._group)
        with self._table.reading() as connection:
            query = f"SELECT COUNT(*) {_OF_GROUP} WHERE newest < ?"
            [(total,)] = connection.rows(query, purpose, to)
        done, last = 0, b""
        query = f"SELECT ref {_OF_GROUP} WHERE newest < ? AND ref > ? ORDER BY ref LIMIT ?"
        while True:
            with self._table.reading() as connection:
                refs = [ref for (ref,) in connection.rows(query, purpose, to, last, BATCH)]
            if not refs:
                return done
            self._rotation.renew(refs)
            done, last = done + len(refs), refs[-1]
            progress(done, total)
