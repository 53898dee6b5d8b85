"""The office of sealed records: keys, consent, erasure, rotation and the audit, from settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lifecycle.core.errors import ConfigError
from lifecycle.core.settings import Settings
from lifecycle.wiring.adapters import actor_of, schema_of_system, vault_opener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.core.ports import Signer
    from lifecycle.core.record import RecordSchema
    from lifecycle.records.access import Gate, Policy
    from lifecycle.records.audit import AuditTrail
    from lifecycle.records.consent import ConsentLedger
    from lifecycle.records.entries import Verb
    from lifecycle.records.erasure import Erasure
    from lifecycle.records.identifiers import Identifiers
    from lifecycle.records.key_ring import SqlKeyRing
    from lifecycle.records.key_table import KeyTable
    from lifecycle.records.renewal import Renewal
    from lifecycle.records.rotation import Rotation
    from lifecycle.records.status import KeyStatus
    from lifecycle.steps.open_records import Handed


@dataclass(frozen=True)
class Office:
    """What administers sealed records; each part is made when it is first asked for, over one key table.

    Attributes:
        settings: Where things are.
    """

    settings: Settings

    @cached_property
    def table(self) -> KeyTable:
        """The key table; the first subject that is registered makes it."""
        from lifecycle.records.key_table import KeyTable
        from lifecycle.records.providers.opening import open_provider

        return KeyTable(self.settings.key_table, open_provider(self.settings.provider))

    @cached_property
    def ring(self) -> SqlKeyRing:
        """The keys of subjects, for whoever seals and opens."""
        from lifecycle.records.key_ring import SqlKeyRing

        return SqlKeyRing(self.table)

    @cached_property
    def trail(self) -> AuditTrail:
        """The audit trail."""
        from lifecycle.records.audit import PURPOSE, AuditTrail

        return AuditTrail(self.table, self._signer(PURPOSE))

    @cached_property
    def policy(self) -> Policy:
        """The access policy.

        Raises:
            ConfigError: The file is missing or has faults.
        """
        from lifecycle.records.access import load_policy

        return load_policy(self.settings.policy)

    @cached_property
    def gate(self) -> Gate:
        """What every read passes."""
        from lifecycle.records.access import Gate

        return Gate(self.policy, self.trail, self.settings.policy)

    @cached_property
    def consent(self) -> ConsentLedger:
        """Who allowed what, since when."""
        from lifecycle.records.consent import ConsentLedger

        return ConsentLedger(self.table)

    @cached_property
    def erasure(self) -> Erasure:
        """Destroys the keys of subjects."""
        from lifecycle.records.erasure import Erasure

        return Erasure(self.table)

    @cached_property
    def rotation(self) -> Rotation:
        """Replaces keys."""
        from lifecycle.records.rotation import Rotation

        return Rotation(self.table)

    def people(self, system: str) -> Identifiers:
        """The subjects of one system, by the field of its record that names them.

        Raises:
            ConfigError: There is no such system, or its records are not sealed.
        """
        from lifecycle.records.identifiers import Identifiers

        schema = schema_of_system(self.settings, system)
        if schema.subject_id is None or not schema.is_sealed:
            raise ConfigError(
                f"the records of {system} are not sealed: nobody in them has a key",
                hint="mark fields as Sensitive, as in docs/your-own-system.md",
            )
        return Identifiers(self.table, f"{system}.{schema.subject_id.name}", group=system)

    def renewal(self, system: str) -> Renewal:
        """Gives all subjects of a system new keys."""
        from lifecycle.records.renewal import Renewal

        return Renewal(self.table, system)

    def status(self) -> KeyStatus:
        """How the key table stands."""
        from lifecycle.records.status import key_status

        return key_status(self.table)

    @cached_property
    def receipt_signer(self) -> Signer:
        """Signs and verifies receipts of erasures."""
        from lifecycle.core.erasure import PURPOSE

        return self._signer(PURPOSE)

    def without_receipt(self) -> list[bytes]:
        """Subjects whose erasure was begun, and of which no receipt was written here."""
        there = {path.stem for path in self.settings.receipts.glob("*/*.json")}
        return [ref for ref in self.erasure.requested() if ref.hex() not in there]

    def admit(
        self, act: Verb, system: str = "", *, refs: Sequence[bytes] = (), detail: str = "", count: int = 0
    ) -> None:
        """Return when this actor may do this, and it is on the audit trail.

        Args:
            act: What is to be done.
            system: In which system; empty: in all.
            refs: About whom; where there are many, a count says how many.
            detail: More of it, in words that are ours.
            count: How many subjects, or keys.

        Raises:
            ConfigError: There is no policy, or it has faults.
            AccessDeniedError: The policy does not allow it; that is on record too.
            KeyMissingError: There is no key table.
        """
        from lifecycle.records.entries import Act

        if act != "register":  # which makes the first one
            self.require()
        if system:
            self._require_system(system)
        self.gate.admit(
            Act(
                actor=actor_of(self.settings),
                act=act,
                dataset=system,
                refs=tuple(refs),
                detail=detail,
                count=count,
            )
        )

    def _require_system(self, system: str) -> None:
        """Return where a system is declared, or was and has keys: the trail keeps every word."""
        from lifecycle.core.params import load_params

        try:
            load_params(self.settings.project).system(system)
        except ConfigError:
            if not (self.table.database.exists() and self.status().has_subjects_of(system)):
                raise

    def require_training(self, system: str, schema: RecordSchema) -> None:
        """Return where this actor may train on the records of a system; nothing is recorded.

        Raises:
            ConfigError: There is no policy, or it has faults.
            AccessDeniedError: The policy does not allow it.
        """
        from lifecycle.core.purposes import TRAINING
        from lifecycle.records.access import refusal
        from lifecycle.records.entries import Read

        groups = tuple(sorted({schema.access_groups[name] for name in schema.trained_on}))
        asked = Read(actor=actor_of(self.settings), purpose=TRAINING, dataset=system, groups=groups)
        if denied := refusal(self.policy, asked, self.settings.policy):
            raise denied

    def require(self) -> None:
        """Return where there is a key table.

        Raises:
            KeyMissingError: There is none.
        """
        with self.table.reading():
            pass

    def register(self, system: str, identifier: str, *, again: bool = False) -> bytes:
        """The ref of a person, made if they have none; on record before it is made, and before it is told.

        Args:
            system: The system.
            identifier: Of the person.
            again: They were erased, and want to come back.

        Raises:
            ErasedError: They were erased.
            AccessDeniedError: The policy does not allow it.
        """
        people, detail = self.people(system), "again" if again else ""
        self.admit("register", system, detail=detail, count=1)
        [ref] = people.register([identifier], again=again)
        self.admit("register", system, refs=(ref,), detail=detail)
        return ref

    def _signer(self, purpose: bytes) -> Signer:
        from lifecycle.records.signing import Ed25519Signer

        return Ed25519Signer(self.settings.keys, purpose=purpose)


def open_office(settings: Settings) -> Office:
    """The office of this project; nothing is read or made yet."""
    return Office(settings)


def open_sealed(
    settings: Settings,
    system: str,
    source: Path,
    columns: Sequence[str],
    purpose: str,
    output: Path | IO[bytes],
) -> Handed:
    """Open sealed files of a system and write columns of them; as ``steps.open_records`` says.

    Raises:
        ConfigError: There is no such system, or its records are not sealed.
    """
    from lifecycle.steps.open_records import open_records

    vault = vault_opener(settings, system)(schema_of_system(settings, system))
    if vault is None:
        raise ConfigError(f"the records of {system} are not sealed", hint="read the files as they are")
    return open_records(vault, source, columns, purpose, output)


def parse_ref(text: str) -> bytes:
    """A subject's ref from its hex digits.

    Raises:
        ConfigError: It is none. What was given is not repeated: it may be a person's identifier.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise ConfigError(
            "a ref is 32 hex digits, and this is something else",
            hint="find it by the identifier: lifecycle records subjects find SYSTEM",
        )
    return bytes.fromhex(text)


def export_audit(office: Office, file: Path) -> tuple[int, str]:
    """Sign the audit trail and write it as JSON lines; how many entries, and the digest of the last.

    Raises:
        StorageError: The file cannot be written.
        IntegrityError: The trail does not verify: nothing was written.
    """
    from lifecycle.data.storage import storing
    from lifecycle.records.private_files import store_private

    office.trail.checkpoint()
    found = office.trail.verify()
    with storing(str(file)):
        store_private(file, "".join(f"{line}\n" for line in office.trail.export()).encode())
    return found.entries, found.head
