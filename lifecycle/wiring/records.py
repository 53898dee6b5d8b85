"""The office of sealed records: keys, consent, erasure, rotation and the audit, from settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lifecycle.core.settings import Settings

if TYPE_CHECKING:
    from lifecycle.core.ports import Signer
    from lifecycle.records.access import Gate, Policy
    from lifecycle.records.audit import AuditTrail
    from lifecycle.records.consent import ConsentLedger
    from lifecycle.records.erasure import Erasure
    from lifecycle.records.identifiers import Identifiers
    from lifecycle.records.key_ring import SqlKeyRing
    from lifecycle.records.key_table import KeyTable
    from lifecycle.records.rotation import Rotation


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

    def identifiers(self, field: str, group: str) -> Identifiers:
        """The subjects of one identifying column."""
        from lifecycle.records.identifiers import Identifiers

        return Identifiers(self.table, field, group)

    def _signer(self, purpose: bytes) -> Signer:
        from lifecycle.records.signing import Ed25519Signer

        return Ed25519Signer(self.settings.keys, purpose=purpose)


def open_office(settings: Settings) -> Office:
    """The office of this project; nothing is read or made yet."""
    return Office(settings)
