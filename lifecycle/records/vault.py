"""The records of one system, sealed and opened: keys, consent, access and audit behind one port.

A vault is what other rooms hold (``core.ports.Vault``). They give tables and get tables; who may open what,
and that it is on record before anything is opened, is decided here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from lifecycle.core.errors import ConfigError, KeyMissingError
from lifecycle.core.ports import Signer
from lifecycle.core.purposes import COMPACTION
from lifecycle.core.record import SCORED_RECORD, SUBJECT_REF, RecordSchema
from lifecycle.core.suggest import nearest
from lifecycle.records import manifest
from lifecycle.records.access import Gate
from lifecycle.records.audit import AuditTrail
from lifecycle.records.consent import ConsentLedger
from lifecycle.records.derivation import Suite
from lifecycle.records.entries import Read
from lifecycle.records.ephemeral import EphemeralKey
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_ring import SqlKeyRing
from lifecycle.records.key_table import KeyTable
from lifecycle.records.plan import Plan
from lifecycle.records.sealing import seal_segment
from lifecycle.records.segment import Opened, SealedSegment
from lifecycle.records.segment_keys import SegmentKey, SegmentKeys
from lifecycle.records.subject_keys import REF_BYTES

_RECORD_REF = b"lifecycle record ref v1\0"


class SystemVault:
    """Implements the port ``Vault`` for one system.

    Args:
        system: Its name; keys, envelopes and the audit trail tell datasets apart by it.
        schema: Of its record.
        table: The key table.
        audit: Where reads are recorded.
        gate: What lets a read through.
        signer: Of manifests; made for ``manifest.PURPOSE``.
        actor: Who is acting.
    """

    def __init__(
        self,
        system: str,
        schema: RecordSchema,
        table: KeyTable,
        audit: AuditTrail,
        gate: Gate,
        signer: Signer,
        actor: str,
    ) -> None:
        subject = schema.subject_id
        assert subject is not None, "a record with sensitive fields names its subject"
        self._dataset = system
        # Scores name their records too: whoever may not see the id of a record does not see it there.
        self._groups = {SCORED_RECORD: schema.access_groups[schema.record_id.name], **schema.access_groups}
        self._choices = {field.name: field.choices for field in schema.fields if field.choices}
        self._table = table
        self._people = Identifiers(table, f"{system}.{subject.name}", group=system)
        self._keys = SqlKeyRing(table)
        self._consent = ConsentLedger(table)
        self._segment_keys = SegmentKeys(table, system)
        self._ephemeral = EphemeralKey()
        self._audit = audit
        self._gate = gate
        self._signer = signer
        self._actor = actor

    def admit(self, identifiers: Sequence[str]) -> list[bytes | None]:
        """The ref of each subject; one that is not known becomes a new one, one that was erased is None."""
        self._table.make()
        erased = self._people.erased(identifiers)
        staying = [text for text, gone in zip(identifiers, erased, strict=True) if not gone]
        refs = iter(self._people.register(staying))
        return [None if gone else next(refs) for gone in erased]

    def consents(self, refs: Sequence[bytes], purpose: str, as_of: datetime) -> list[bool | None]:
        """What each subject said last of a purpose; None: nothing."""
        return self._consent.last_word(refs, purpose, as_of)

    def record_refs(self, refs: Sequence[bytes], ids: Sequence[str]) -> list[str]:
        """A name for each record that says nothing; nobody can make it again once its subject is erased.

        It is made with the first key of the subject, so it stays when the key is renewed.
        """
        unique = list(dict.fromkeys(refs))
        held = dict(zip(unique, self._keys.every(unique), strict=True))
        if any(keys is None for keys in held.values()):
            raise KeyMissingError(
                "a subject was erased while its records were sealed", hint="run it again: they are left out"
            )
        secrets = {ref: keys[0].secret for ref, keys in held.items() if keys}
        context = _RECORD_REF + self._dataset.encode() + b"\0"
        return [
            hmac.digest(secrets[ref], context + record.encode(), "sha256")[:REF_BYTES].hex()
            for ref, record in zip(refs, ids, strict=True)
        ]

    def conceal(self, content: bytes) -> bytes:
        """What may lie on a disk for as long as this process runs; nobody else can read it."""
        return self._ephemeral.conceal(content)

    def reveal(self, content: bytes) -> bytes:
        """What was concealed by this very object."""
        return self._ephemeral.reveal(content)

    def seal(self, table: Any, path: Path, groups: Mapping[str, str] | None = None) -> None:
        """Write an Arrow table with a column ``SUBJECT_REF``; the same rows make the same bytes.

        Args:
            table: The rows.
            path: The file.
            groups: Access group by column, where they are not those of the record's fields.

        Raises:
            ErasedError: A subject was erased.
            StorageError: The disk refuses.
        """
        refs = table.column(SUBJECT_REF).combine_chunks().to_pylist()
        segment = self._segment(path.stem, refs)
        self._audit.know_segment(str(segment), list(dict.fromkeys(refs)))
        names = set(table.schema.names) - {SUBJECT_REF}
        known = self._groups if groups is None else groups
        plan = Plan(
            dataset=self._dataset,
            subject=SUBJECT_REF,
            groups={name: known.get(name, "clinical") for name in names},
            choices={name: choices for name, choices in self._choices.items() if name in names},
            suite=Suite.AES_256_SIV,
        )
        seal_segment([table], table.schema, path, plan=plan, keys=self._keys, segment=segment)

    def rows(self, path: Path) -> int:
        """How many rows were sealed in a file, those of erased subjects included; needs no key."""
        return SealedSegment(path).rows

    def close(self, folder: Path) -> tuple[str, str]:
        """Sign which sealed files a folder holds; where they are those signed before, nothing changes."""
        entries = [
            manifest.entry_of(path, dataset=self._dataset, segment=segment.id, rows=segment.rows)
            for path in sorted(folder.glob("*.parquet"))
            for segment in [SealedSegment(path)]
        ]
        before = None
        if (folder / manifest.NAME).exists():
            before = manifest.read_manifest(folder, self._signer, dataset=self._dataset)
            if before.segments == tuple(entries):
                return manifest.NAME, manifest.SIGNATURE
        manifest.write_manifest(
            folder, manifest.manifest_of(self._dataset, entries, before=before), self._signer
        )
        return manifest.NAME, manifest.SIGNATURE

    def open(self, paths: Sequence[Path], columns: Sequence[str], purpose: str) -> Iterator[Opened]:
        """The rows of sealed files of one folder, those of erased subjects left out and counted.

        Allowed by the policy and on record before the first is opened; of the access groups of these
        columns and no other.

        Raises:
            AccessDeniedError: The policy does not allow it.
            KeyMissingError: A subject is neither known nor erased.
            SealError: A file was changed, cut, moved, dropped or put back from before.
        """
        if not paths:
            return
        folder = paths[0].parent
        signed = manifest.read_manifest(folder, self._signer, dataset=self._dataset)
        manifest.verify_segments(folder, signed, paths)
        segments = [SealedSegment(path) for path in paths]
        groups = _groups_of(segments, columns)
        read = Read(
            actor=self._actor,
            purpose=purpose,
            dataset=self._dataset,
            segments=tuple(str(segment.id) for segment in segments),
            columns=tuple(columns),
            groups=tuple(groups),
            rows=sum(segment.rows for segment in segments),
        )
        with self._table.at_work(), self._keys.steady():  # each segment asks for its keys
            self._gate.admit(read)
            for segment in segments:
                yield segment.read(self._keys, groups, columns)

    def segment_key(self, name: bytes) -> SegmentKey:
        """The key of a segment of the prediction log; that it was asked for is on record.

        No policy is asked: it is opened to be sealed person by person, and nobody is shown it.

        Raises:
            KeyMissingError: It is gone.
        """
        key = self._segment_keys.get(name)
        self._audit.know_segment(name.hex(), [name])  # whose rows are in it is seen when it is opened
        self._audit.record(
            Read(actor=self._actor, purpose=COMPACTION, dataset=self._dataset, segments=(name.hex(),))
        )
        return key

    def drop_segment_keys(self, names: Sequence[bytes]) -> None:
        """Destroy keys of segments whose rows are sealed elsewhere."""
        self._segment_keys.destroy(names)

    def columns(self, paths: Sequence[Path]) -> dict[str, str]:
        """The columns that sealed files have in common, each with its access group; needs no key.

        Raises:
            SealError: A file is not sealed, or not whole.
        """
        found: dict[str, str] = {}
        for number, path in enumerate(paths):
            there = SealedSegment(path).sealed.access_groups
            found = {name: group for name, group in there.items() if not number or name in found}
        return found

    def check(self, columns: Sequence[str], purpose: str) -> None:
        """Return when this actor may open these fields of the record for a purpose; nothing is opened.

        Raises:
            AccessDeniedError: The policy does not allow it; that is on record.
        """
        groups = tuple(sorted({self._groups[name] for name in columns}))
        self._gate.check(
            Read(
                actor=self._actor,
                purpose=purpose,
                dataset=self._dataset,
                columns=tuple(columns),
                groups=groups,
            )
        )

    def _segment(self, name: str, refs: Sequence[bytes]) -> UUID:
        """The identity of a file: its name and whose rows it holds, all of which it shows anyway."""
        held = hashlib.sha256(b"".join(sorted(refs))).hexdigest()
        return uuid5(NAMESPACE_OID, f"{self._dataset}/{name}/{held}")


def _groups_of(segments: Sequence[SealedSegment], columns: Sequence[str]) -> list[str]:
    """The access groups that these columns were sealed in: as the files say, to which the keys are bound.

    Raises:
        ConfigError: A column is not there.
    """
    groups = set()
    for segment in segments:
        there = segment.sealed.access_groups
        if strange := [name for name in columns if name not in there]:
            raise ConfigError(
                f"{segment.path} has no column {', '.join(map(repr, strange))}{nearest(strange[0], there)}",
                hint=f"it has: {', '.join(f'{name} ({group})' for name, group in there.items())}",
            )
        groups |= {there[name] for name in columns}
    return sorted(groups)
