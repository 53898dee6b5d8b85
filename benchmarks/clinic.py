"""A project whose records are about people: real settings, keys on disk, an audit trail and a policy."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path

from benchmarks.commands import ROOT
from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.ports import Vault
from lifecycle.core.settings import Settings
from lifecycle.wiring import vault_opener
from lifecycle.wiring.records import Office, open_office
from systems.patient_outcome import SYSTEM


class Clinic:
    """The patients' system in a folder of its own.

    Args:
        folder: Made here; holds parameters, access policy and all state, the key table in SQLite too.
    """

    name = SYSTEM.name

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in ("params.yaml", "access.yaml"):
            shutil.copy(ROOT / name, folder)
        self.root = folder
        self.settings = Settings(project=folder, home=Path(".lifecycle"), actor="pipeline")

    @cached_property
    def params(self) -> SystemParams:
        """The system's parameters."""
        return load_params(self.root).system(self.name)

    @cached_property
    def office(self) -> Office:
        """Keys, erasure, rotation and the audit trail."""
        return open_office(self.settings)

    @cached_property
    def vault(self) -> Vault:
        """Seals and opens the system's records."""
        vault = vault_opener(self.settings, self.name)(SYSTEM.schema)
        assert vault is not None, "the patients' records are sealed"
        return vault

    def register(self, count: int) -> list[bytes]:
        """So many people, each with a key of their own; their refs."""
        return self.office.people(self.name).register([f"MRN-{number:08d}" for number in range(count)])
