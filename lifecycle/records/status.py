"""How the key table stands: how many subjects under which keys, who was erased, where the audit is."""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle.records.key_table import KeyTable, subjects_of


@dataclass(frozen=True)
class TableKeyStatus:
    """One table key.

    Attributes:
        version: Its number.
        purpose: ``subjects/GROUP``, ``subjects/log/GROUP`` (of segments of a prediction log) or
            ``index/FIELD``.
        state: ``active``, ``retiring`` or ``destroyed``.
        kek_version: Version of the provider's key that wraps it.
        subject_keys: How many subject keys it wraps, of all generations.
    """

    version: int
    purpose: str
    state: str
    kek_version: int
    subject_keys: int


@dataclass(frozen=True)
class KeyStatus:
    """The key table in numbers; no ref, identifier or key is in it.

    Attributes:
        subjects: Subjects that have a key.
        keys: The table keys, oldest first.
        kek_versions: Versions that the key provider has.
        tombstones: Erased subjects by state; ``requested`` and ``erased`` ones are to be finished.
        refused: Identifiers that may not come back unasked.
        audit_entries: Entries of the audit trail.
        audit_head: Digest of the last one; empty if there is none.
    """

    subjects: int
    keys: tuple[TableKeyStatus, ...]
    kek_versions: tuple[int, ...]
    tombstones: dict[str, int]
    refused: int
    audit_entries: int
    audit_head: str

    def has_subjects_of(self, group: str) -> bool:
        """Whether a dataset group ever had a key for its subjects."""
        return any(key.purpose == subjects_of(group) for key in self.keys)

    def subject_keys(self, group: str) -> int:
        """How many keys the subjects of a dataset group have, of all generations."""
        return sum(key.subject_keys for key in self.keys if key.purpose == subjects_of(group))


def key_status(table: KeyTable) -> KeyStatus:
    """Count what is in a key table.

    Raises:
        KeyMissingError: There is no key table.
        ConfigError, UnavailableError: The database or the provider does not answer.
    """
    with table.reading() as connection:
        [(subjects,)] = connection.rows(
            "SELECT COUNT(DISTINCT s.subject_ref) FROM subjects s "
            "JOIN table_keys k ON k.version = s.tek_version WHERE k.purpose NOT LIKE 'subjects/log/%'"
        )
        held = dict(connection.rows("SELECT tek_version, COUNT(*) FROM subjects GROUP BY tek_version"))
        keys = [
            TableKeyStatus(version, purpose, state, kek, held.get(version, 0))
            for version, purpose, state, kek in connection.rows(
                "SELECT version, purpose, state, kek_version FROM table_keys ORDER BY version"
            )
        ]
        tombstones = dict(connection.rows("SELECT state, COUNT(*) FROM tombstones GROUP BY state"))
        [(refused,)] = connection.rows("SELECT COUNT(*) FROM refused_identifiers")
        head = connection.rows("SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1")
    entries, digest = head[0] if head else (0, "")
    return KeyStatus(
        subjects=subjects,
        keys=tuple(keys),
        kek_versions=table.provider.versions(),
        tombstones=tombstones,
        refused=refused,
        audit_entries=entries,
        audit_head=digest,
    )
