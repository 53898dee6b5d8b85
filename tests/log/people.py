"""A log about people: its keys lie in a folder beside it."""

from __future__ import annotations

from pathlib import Path

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.data.log_files import SealedLog
from lifecycle.data.log_parts import CompactedLog
from lifecycle.records import audit, manifest
from lifecycle.records.access import Gate, Policy
from lifecycle.records.audit import AuditTrail
from lifecycle.records.custody import SystemCustody
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.signing import Ed25519Signer
from lifecycle.records.vault import SystemVault
from tests.log.conftest import HOMES

OWNER = FieldSpec(name="owner", kind="text", subject_id=True, sensitive="identifiers")
OWNED = RecordSchema(name="Home", fields=(*HOMES.fields, OWNER))
POLICY = Policy.model_validate({"format": 1, "actors": {"flow": {"ingest": ["identifiers", "clinical"]}}})


class People:
    """Keys, vault and log below one folder.

    Attributes:
        table: The key table.
        vault: Seals and opens.
        log: The Parquet side of the log.
        custody: What a server holds.
    """

    def __init__(self, root: Path) -> None:
        keys = root / "keys"
        self.table = KeyTable(f"sqlite:///{keys}/keys.db", LocalKeyFile(keys / "kek.json"))
        trail = AuditTrail(self.table, Ed25519Signer(keys / "signing", purpose=audit.PURPOSE))
        signer = Ed25519Signer(keys / "signing", purpose=manifest.PURPOSE)
        self.vault = SystemVault("homes", OWNED, self.table, trail, Gate(POLICY, trail), signer, "flow")
        self.log = CompactedLog(root / "log" / "homes", "homes", SealedLog(OWNED, self.vault))
        self.custody = SystemCustody(self.table, "homes", "owner")
