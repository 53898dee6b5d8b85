"""Each port's real adapter, from settings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.params import load_params
from lifecycle.core.settings import Settings

if TYPE_CHECKING:
    from lifecycle.core.ports import (
        Custody,
        Engine,
        Ledger,
        OpenCustody,
        OpenVault,
        Registry,
        ReleaseStore,
        Signer,
        Vault,
    )
    from lifecycle.core.record import RecordSchema
    from lifecycle.data.log_parts import CompactedLog
    from lifecycle.data.workspace import GitDvcWorkspace
    from lifecycle.serving.key_file import KeyFile


def open_signer(settings: Settings) -> Signer:
    """The signing key of this project, made at first use."""
    from lifecycle.records.signing import Ed25519Signer

    return Ed25519Signer(settings.keys)


def open_ledger(settings: Settings) -> Ledger:
    """The deployment ledger; the servers of this machine are told of each switch it records."""
    from lifecycle.rollout.ledger import SqlLedger
    from lifecycle.serving.notice import announce

    return SqlLedger(settings.ledger, switched=partial(announce, settings.state))


def open_registry(settings: Settings) -> Registry:
    """The model registry."""
    from lifecycle.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(settings)


def open_store(settings: Settings) -> ReleaseStore:
    """The cache of verified releases."""
    from lifecycle.serving.store import VerifiedReleaseStore

    return VerifiedReleaseStore(settings.releases, open_signer(settings))


def open_workspace(settings: Settings, system: str) -> GitDvcWorkspace:
    """The data versions and commits of a system."""
    from lifecycle.data.workspace import GitDvcWorkspace

    return GitDvcWorkspace(settings, system, vault_opener(settings, system))


def vault_opener(settings: Settings, system: str) -> OpenVault:
    """Opens the vault of one system's records; there is none where nothing in them is sensitive."""

    def opened(schema: RecordSchema) -> Vault | None:
        if not schema.is_sealed:
            return None
        from lifecycle.records.manifest import PURPOSE
        from lifecycle.records.signing import Ed25519Signer
        from lifecycle.records.vault import SystemVault
        from lifecycle.wiring.records import open_office

        office = open_office(settings)
        signer = Ed25519Signer(settings.keys, purpose=PURPOSE)
        return SystemVault(
            system, schema, office.table, office.trail, office.gate, signer, actor=actor_of(settings)
        )

    return opened


def actor_of(settings: Settings) -> str:
    """In whose name sealed records are opened: the owner of the API key that is set, else who claims to act.

    Raises:
        AccessDeniedError: The key does not open records, or the actor has one and did not present it.
    """
    from lifecycle.serving.keys import KeyRing

    return KeyRing(settings.key_file).acting(settings.actor, settings.actor_key, time.time())


def custody_opener(settings: Settings) -> OpenCustody:
    """Opens the custodies of systems whose records are sealed, over one key table."""

    def opened(system: str, schema: RecordSchema) -> Custody:
        from lifecycle.records.custody import SystemCustody
        from lifecycle.wiring.records import open_office

        assert schema.about is not None
        return SystemCustody(open_office(settings).table, system, schema.about.name)

    return opened


def trial_vault(system: str, folder: Path, schema: RecordSchema) -> Vault | None:
    """A vault for made-up people: its keys, its audit and its policy lie in a folder and go with that."""
    made(folder)
    policy = folder / "access.yaml"
    policy.write_text("format: 1\nactors: {trial: {scoring: [identifiers, clinical, free text]}}\n")
    # Said in full: nothing of the environment may lead to the keys of real people.
    settings = Settings(
        project=folder,
        home=Path("state"),
        actor="trial",
        keys_url="",
        key_provider="",
        access_policy=policy,
    )
    return vault_opener(settings, system)(schema)


def open_engine(folder: Path, root: Path, workers: int | None = 1, *, bulk: bool = False) -> Engine:
    """The model of a folder: a release, or what training left.

    Args:
        folder: Holds the model and ``schema.json``.
        root: The project whose code a scikit-learn estimator may need.
        workers: Processes that run such an estimator; one a core, if None.
        bulk: Whether it is asked many rows at a time.
    """
    from lifecycle.serving.engine import load_engine

    return load_engine(folder, estimator=estimator_command(root), workers=workers, bulk=bulk)


def engine_loader(root: Path, workers: int | None = 1, *, bulk: bool = False) -> Callable[[Path], Engine]:
    """`open_engine` for the code of one project."""
    return lambda folder: open_engine(folder, root, workers, bulk=bulk)


def estimator_command(root: Path) -> tuple[str, ...]:
    """Runs a scikit-learn estimator in a process of its own; a folder and a descriptor are appended.

    ``-P`` keeps the current folder off the import path; the project's comes first.
    """
    return (sys.executable, "-P", "-m", "lifecycle.training.estimator_server", "--root", str(root))


def open_keys(settings: Settings) -> KeyFile:
    """The API keys of this project."""
    from lifecycle.serving.key_file import KeyFile

    return KeyFile(settings.key_file)


def open_log(settings: Settings, schema: RecordSchema, system: str, vault: Vault | None) -> CompactedLog:
    """The Parquet side of a system's prediction log.

    Args:
        settings: Where things are.
        schema: Of the system's record.
        system: Its name.
        vault: Of its records, where they are sealed.
    """
    from lifecycle.data.log_files import log_files
    from lifecycle.data.log_parts import CompactedLog

    return CompactedLog(settings.log / system, system, log_files(schema, vault))


def schema_of_system(settings: Settings, system: str) -> RecordSchema:
    """The schema of a system's record, as its code declares it.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.core.system import load_system

    return load_system(load_params(settings.project).system(system).entry, settings.project).schema


def made(folder: Path) -> Path:
    """A folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
