"""The office of sealed records: keys, consent, erasure, rotation and the audit, from settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.clock import SystemClock
from lifecycle.core.errors import ConfigError
from lifecycle.core.settings import Settings
from lifecycle.wiring.adapters import open_ledger, open_log, open_store, schema_of_system, vault_opener

if TYPE_CHECKING:
    from lifecycle.core.erasure import PlaceScan
    from lifecycle.core.ports import Signer
    from lifecycle.records.access import Gate, Policy
    from lifecycle.records.audit import AuditTrail
    from lifecycle.records.consent import ConsentLedger
    from lifecycle.records.erasure import Erasure
    from lifecycle.records.identifiers import Identifiers
    from lifecycle.records.key_ring import SqlKeyRing
    from lifecycle.records.key_table import KeyTable
    from lifecycle.records.renewal import Renewal
    from lifecycle.records.rotation import Rotation
    from lifecycle.records.scan import Place
    from lifecycle.records.status import KeyStatus
    from lifecycle.steps.affected import ModelLineage
    from lifecycle.steps.erase import Eraser, QueueUpdate
    from lifecycle.steps.rotate import Rotator


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

        return Gate(self.policy, self.trail)

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

    def note_look_up(self, system: str, ref: bytes) -> None:
        """Put on the audit trail that a person's ref was looked up by their identifier."""
        from lifecycle.records.audit import Read

        self.trail.record(
            Read(
                actor=self.settings.actor,
                purpose="look-up",
                dataset=system,
                groups=("identifiers",),
                refs=(ref,),
            )
        )

    def _signer(self, purpose: bytes) -> Signer:
        from lifecycle.records.signing import Ed25519Signer

        return Ed25519Signer(self.settings.keys, purpose=purpose)


def open_office(settings: Settings) -> Office:
    """The office of this project; nothing is read or made yet."""
    return Office(settings)


def open_eraser(settings: Settings, system: str, ref: str, queue_update: QueueUpdate) -> Eraser:
    """The steps that erase one subject, with their real adapters.

    Args:
        settings: Where things are.
        system: Name of the system.
        ref: The subject, 32 hex digits.
        queue_update: Queues an update of a system.

    Raises:
        ConfigError: The ref is none, or there is no such system.
    """
    from lifecycle.core.params import load_params
    from lifecycle.steps.erase import Eraser

    load_params(settings.project).system(system)
    office = open_office(settings)
    places, unseen = _places(settings, system)
    return Eraser(
        name=system,
        ref=parse_ref(ref),
        actor=settings.actor,
        erasure=office.erasure,
        places=places,
        unseen=unseen,
        lineage=open_lineage(settings, system),
        ledger=open_ledger(settings),
        signer=office.receipt_signer,
        clock=SystemClock(),
        receipts=settings.receipts,
        queue_update=queue_update,
        settle_log=partial(_settle_log, settings, system),
    )


def _settle_log(settings: Settings, system: str) -> int:
    """Compact what servers have logged, if records are sealed; how many segments still wait."""
    from lifecycle.steps.settle_log import settle_log

    schema = schema_of_system(settings, system)
    vault = vault_opener(settings, system)(schema)
    if vault is None:
        return 0
    return settle_log(open_log(settings, schema, system, vault), vault, SystemClock().now())


def open_lineage(settings: Settings, system: str) -> ModelLineage:
    """The way from a subject to the models that were trained on them.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.core.params import load_params
    from lifecycle.records.scan import Place
    from lifecycle.steps.affected import ModelLineage

    load_params(settings.project).system(system)
    stores = tuple(Place(name, path.absolute()) for name, path in _stores(settings).items())
    return ModelLineage(system, stores, open_ledger(settings), open_store(settings))


def open_rotator(settings: Settings, system: str) -> Rotator:
    """The regular rotation of one system's keys.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.core.params import load_params
    from lifecycle.steps.rotate import Rotator

    load_params(settings.project).system(system)
    office = open_office(settings)

    def status() -> KeyStatus | None:
        return office.status() if office.table.database.exists() else None

    return Rotator(name=system, status=status, rotation=office.rotation)


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


def _stores(settings: Settings) -> dict[str, Path]:
    """The folders that hold DVC's objects, by what they are."""
    from lifecycle.data.dvc_objects import cache_of

    stores = {"DVC cache": cache_of(settings.project)}
    if not _is_remote(settings):
        stores["DVC remote"] = settings.project / settings.remote
    return stores


def _places(settings: Settings, system: str) -> tuple[tuple[Place, ...], tuple[PlaceScan, ...]]:
    """Where records of a system lie: places, and those that cannot be seen."""
    from lifecycle.core.erasure import PlaceScan
    from lifecycle.data.storage import without_secrets
    from lifecycle.records.scan import Place

    named = _stores(settings)
    unseen: tuple[PlaceScan, ...] = ()
    if _is_remote(settings):
        told = without_secrets(settings.remote)
        unseen = (PlaceScan(place="DVC remote", where=told, scanned=False),)
    named["worktree"] = settings.state / "worktrees" / system
    named["prediction log"] = settings.log / system
    named["other state"] = settings.state
    named["project: inputs, batch results, checkouts"] = settings.project
    paths = {name: path.absolute() for name, path in named.items()}
    places = tuple(
        Place(name, path, tuple(other for other in paths.values() if other != path))
        for name, path in paths.items()
    )
    return places, unseen


def _is_remote(settings: Settings) -> bool:
    """Whether DVC's remote is no folder that could be looked through."""
    return "://" in settings.remote
