"""The audit trail: who read or did what, of whom, when and why; each entry is chained to the one before it.

An entry is committed before plaintext is released, or keys, consent or people are touched. A read names the
segments that were read; which subjects are in a segment is stored once, when it is sealed, so that a read of
100,000 rows costs one small row and `who read this person's data` can still be answered. No value from a
record is in it.

Every ``CHECKPOINT_EVERY`` entries the installation signs the chain. Whoever can write to the database can cut
off what came after the last checkpoint, or put an old copy of all of it in its place: export the trail, or
its head alone, to a place of its own, and ``verify`` against that.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import IntegrityError, StateError
from lifecycle.core.ports import Signer
from lifecycle.core.sql.databases import Connection
from lifecycle.records.entries import Entry
from lifecycle.records.key_table import KeyTable
from lifecycle.records.subject_keys import REF_BYTES

PURPOSE = b"lifecycle audit checkpoint v1\0"
"""Put before what is signed: give the trail an ``Ed25519Signer`` made for it."""

CHECKPOINT_EVERY = 100
_GENESIS = "0" * 64
_PAGE = 2_000
_LISTS_AT_ONCE = 64


@dataclass(frozen=True)
class Verified:
    """What ``verify`` found in order.

    Attributes:
        entries: How many there are.
        unsigned: How many of them came after the last checkpoint.
        head: Digest of the last entry.
    """

    entries: int
    unsigned: int
    head: str


class AuditTrail:
    """The trail in the database of the key table.

    Args:
        table: The key table.
        signer: Signs and verifies checkpoints; made for ``PURPOSE``.
    """

    def __init__(self, table: KeyTable, signer: Signer) -> None:
        self._table = table
        self._signer = signer

    def know_segment(self, segment: str, refs: Sequence[bytes]) -> None:
        """Remember which subjects a segment holds, before it can be read; repeating it changes nothing.

        Raises:
            StateError: The segment is known to hold other subjects.
        """
        with self._table.writing() as connection:
            digest = _store_subjects(connection, refs)
            connection.execute(
                "INSERT INTO audit_segments (segment, digest) VALUES (?, ?) ON CONFLICT (segment) DO NOTHING",
                *(segment, digest),
            )
            [(stored,)] = connection.rows("SELECT digest FROM audit_segments WHERE segment = ?", segment)
        if stored != digest:
            raise StateError(
                f"segment {segment} is known to hold other subjects",
                hint="give each segment an id of its own",
            )

    def record(self, entry: Entry, *, denied: str = "") -> int:
        """Append an entry, and return its number once it is committed.

        Args:
            entry: What is about to happen.
            denied: Why it will not; empty: it will.

        Raises:
            StateError: A segment is not known, so that nobody could tell whose data was read.
            StorageError, UnavailableError: It cannot be stored.
        """
        with self._table.writing() as connection:
            subjects = dict(
                connection.rows_among(
                    "SELECT segment, digest FROM audit_segments WHERE segment IN ({among})", entry.segments
                )
            )
            if not denied and (unknown := [name for name in entry.segments if name not in subjects]):
                raise StateError(
                    f"the audit trail does not know whose records are in segment {unknown[0]}",
                    hint="nothing was opened; seal the segment again",
                )
            number, previous = _head(connection)
            told = {
                "id": number + 1,
                "at": self._table.clock.now().isoformat(),
                **entry.told(),
                "denied": denied,
                "segments": {name: subjects.get(name, "") for name in entry.segments},
                "subjects": _store_subjects(connection, entry.refs) if entry.refs else "",
                "previous": previous,
            }
            text = json.dumps(told, separators=(",", ":"))
            digest = _digest(text.encode())
            connection.execute(
                "INSERT INTO audit (id, entry, digest) VALUES (?, ?, ?)", *(number + 1, text, digest)
            )
            if (number + 1) % CHECKPOINT_EVERY == 0:
                self._sign(connection, number + 1, digest)
        return number + 1

    def checkpoint(self) -> None:
        """Sign the chain as it is now, such as at the end of a flow."""
        with self._table.writing() as connection:
            number, digest = _head(connection)
            if number and not connection.rows("SELECT 1 FROM audit_checkpoints WHERE id = ?", number):
                self._sign(connection, number, digest)

    def verify(self, head: str = "") -> Verified:
        """Go through the whole trail.

        Args:
            head: Digest of an entry that must be in it: one that was exported earlier.

        Raises:
            IntegrityError: An entry, a list of subjects or a checkpoint was changed or is missing.
        """
        self._verify_subjects()
        signatures = self._signatures()
        number, previous, signed, seen = 0, _GENESIS, 0, not head
        for entry, text, digest in self._entries():
            number += 1
            if entry["id"] != number or entry["previous"] != previous or digest != _digest(text.encode()):
                raise _broken(f"entry {number} was changed, or one before it is missing")
            if number in signatures:
                self._verify_checkpoint(number, digest, signatures.pop(number))
                signed = number
            elif number % CHECKPOINT_EVERY == 0:
                raise _broken(f"the checkpoint of entry {number} is missing")
            previous = digest
            seen = seen or digest == head
        if signatures:
            raise _broken(f"entry {min(signatures)} was signed, and is missing")
        if not seen:
            raise _broken("the exported head is not in it")
        return Verified(number, number - signed, previous)

    def who(self, ref: bytes) -> Iterator[dict[str, Any]]:
        """Reads of a subject and acts about it, oldest first, denied ones too.

        What was read after its erasure was read without it; what names it alone is told for ever.
        """
        lists = {digest for digest, refs in self._subject_lists() if _holds(refs, ref)}
        query = "SELECT erased_at FROM tombstones WHERE subject_ref = ? AND erased_at IS NOT NULL"
        with self._table.reading() as connection:
            erased = [parse_moment(moment) for (moment,) in connection.rows(query, ref)]
        for entry, _, _ in self._entries():
            gone = bool(erased) and datetime.fromisoformat(entry["at"]) > erased[0]
            if entry["subjects"] in lists or (not gone and not lists.isdisjoint(entry["segments"].values())):
                yield entry

    def export(self) -> Iterator[str]:
        """The trail as JSON lines: ``{"entry": ..., "digest": ...}``, with the signature of checkpoints.

        The digest is the SHA-256 of the text of the entry, which is in it as text for that reason.
        """
        signatures = self._signatures()
        for entry, text, digest in self._entries():
            line = {"entry": text, "digest": digest}
            if entry["id"] in signatures:
                line["signature"] = signatures[entry["id"]]
            yield json.dumps(line)

    def _sign(self, connection: Connection, number: int, digest: str) -> None:
        signature = self._signer.sign(_signed(number, digest)).decode()
        connection.execute(
            "INSERT INTO audit_checkpoints (id, signature) VALUES (?, ?)", *(number, signature)
        )

    def _signatures(self) -> dict[int, str]:
        with self._table.reading() as connection:
            return dict(connection.rows("SELECT id, signature FROM audit_checkpoints"))

    def _entries(self) -> Iterator[tuple[dict[str, Any], str, str]]:
        last = 0
        query = "SELECT id, entry, digest FROM audit WHERE id > ? ORDER BY id LIMIT ?"
        while True:
            with self._table.reading() as connection:
                page = connection.rows(query, last, _PAGE)
            for last, text, digest in page:  # noqa: B007  read after the loop
                yield json.loads(text), text, digest
            if len(page) < _PAGE:
                return

    def _subject_lists(self) -> Iterator[tuple[str, bytes]]:
        with self._table.reading() as connection:
            digests = [digest for (digest,) in connection.rows("SELECT digest FROM audit_subjects")]
        query = "SELECT digest, refs FROM audit_subjects WHERE digest IN ({among})"
        for start in range(0, len(digests), _LISTS_AT_ONCE):
            with self._table.reading() as connection:
                yield from list(connection.rows_among(query, digests[start : start + _LISTS_AT_ONCE]))

    def _verify_checkpoint(self, number: int, digest: str, signature: str) -> None:
        try:
            self._signer.verify(_signed(number, digest), signature.encode())
        except IntegrityError as error:
            raise _broken(f"the checkpoint of entry {number} does not verify: {error.message}") from None

    def _verify_subjects(self) -> None:
        lists = set()
        for digest, refs in self._subject_lists():
            if digest != _digest(refs):
                raise _broken(f"the list of subjects {digest[:12]} was changed")
            lists.add(digest)
        for entry, _, _ in self._entries():
            named = {entry["subjects"], *entry["segments"].values()} - {""}
            if missing := named - lists:
                raise _broken(f"the list of subjects {min(missing)[:12]} of entry {entry['id']} is missing")


def _head(connection: Connection) -> tuple[int, str]:
    rows = connection.rows("SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1")
    return rows[0] if rows else (0, _GENESIS)


def _store_subjects(connection: Connection, refs: Sequence[bytes]) -> str:
    content = b"".join(sorted(set(refs)))
    digest = _digest(content)
    connection.execute(
        "INSERT INTO audit_subjects (digest, refs) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
        *(digest, content),
    )
    return digest


def _holds(refs: bytes, ref: bytes) -> bool:
    """Whether a ref is in a sorted list of them."""
    count = len(refs) // REF_BYTES
    place = bisect_left(range(count), ref, key=lambda i: refs[i * REF_BYTES : (i + 1) * REF_BYTES])
    return place < count and refs[place * REF_BYTES : (place + 1) * REF_BYTES] == ref


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _signed(number: int, digest: str) -> bytes:
    return f"{number} {digest}".encode()


def _broken(problem: str) -> IntegrityError:
    return IntegrityError(
        f"the audit trail does not verify: {problem}",
        hint="compare it with its last export, and find out who can write to the database",
    )
