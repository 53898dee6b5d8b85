"""The consent ledger: who allowed what, since when. Nothing in it is ever changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import ErasedError, KeyMissingError
from lifecycle.records.key_table import KeyTable


@dataclass(frozen=True)
class Consent:
    """One statement of a subject.

    Attributes:
        purpose: What it is about: ``training``, ``scoring``, ``logging``.
        granted: Granted, or withdrawn.
        since: From when on it holds.
        recorded_at: When we learnt of it.
    """

    purpose: str
    granted: bool
    since: datetime
    recorded_at: datetime


class ConsentLedger:
    """Consent per subject and purpose; where nothing was said, nothing is allowed.

    Args:
        table: The key table, in whose database it lies.
    """

    def __init__(self, table: KeyTable) -> None:
        self._table = table

    def grant(self, refs: Sequence[bytes], purpose: str, since: datetime) -> None:
        """Record that these subjects allow a purpose from a moment on.

        Raises:
            ErasedError: A subject was erased; nothing was recorded.
            KeyMissingError: A ref is unknown; nothing was recorded.
        """
        self._record(refs, purpose, since, granted=True)

    def withdraw(self, refs: Sequence[bytes], purpose: str, since: datetime) -> None:
        """Record that these subjects allow a purpose no longer, from a moment on; errors as for ``grant``."""
        self._record(refs, purpose, since, granted=False)

    def allowed(self, refs: Sequence[bytes], purpose: str, as_of: datetime) -> list[bool]:
        """Which subjects allow a purpose at a moment: what holds then, of all that we know by now.

        Of two statements that hold since the same moment, the one recorded later counts.

        Args:
            refs: The subjects.
            purpose: What is to be done with their records.
            as_of: The moment. Whoever *processes* the records of a past day does it today: ask for today.
        """
        return [bool(said) for said in self.last_word(refs, purpose, as_of)]

    def last_word(self, refs: Sequence[bytes], purpose: str, as_of: datetime) -> list[bool | None]:
        """As ``allowed``, but None where a subject said nothing."""
        query = (
            "SELECT subject_ref, granted FROM consents WHERE purpose = ? AND since <= ? "
            "AND subject_ref IN ({among}) ORDER BY since, id"
        )
        unique = list(dict.fromkeys(refs))
        with self._table.reading() as connection:
            last = dict(connection.rows_among(query, unique, purpose, parse_moment(as_of)))
        return [bool(last[ref]) if ref in last else None for ref in refs]

    def history(self, ref: bytes) -> list[Consent]:
        """Every statement of a subject, in the order in which we learnt of them; erased ones keep theirs."""
        query = "SELECT purpose, granted, since, recorded_at FROM consents WHERE subject_ref = ? ORDER BY id"
        with self._table.reading() as connection:
            return [
                Consent(purpose, bool(granted), parse_moment(since), parse_moment(recorded))
                for purpose, granted, since, recorded in connection.rows(query, ref)
            ]

    def _record(self, refs: Sequence[bytes], purpose: str, since: datetime, *, granted: bool) -> None:
        unique = list(dict.fromkeys(refs))
        with self._table.writing() as connection:
            query = "SELECT DISTINCT subject_ref FROM subjects WHERE subject_ref IN ({among})"
            unknown = set(unique) - {ref for (ref,) in connection.rows_among(query, unique)}
            query = "SELECT subject_ref FROM tombstones WHERE subject_ref IN ({among})"
            if erased := list(connection.rows_among(query, list(unknown))):
                raise ErasedError(
                    f"{len(erased)} of {len(unique)} subjects were erased: their consent says nothing now",
                    hint="register whoever wants to come back again, then record their consent",
                )
            if unknown:
                raise KeyMissingError(
                    f"{len(unknown)} of {len(unique)} subjects are not in the key table", hint="register them"
                )
            now, since = self._table.clock.now(), parse_moment(since)
            connection.execute_many(
                "INSERT INTO consents (subject_ref, purpose, granted, since, recorded_at) "
                "VALUES (?, ?, ?, ?, ?)",
                [(ref, purpose, int(granted), since, now) for ref in unique],
            )
            self._table.count_change(connection)
