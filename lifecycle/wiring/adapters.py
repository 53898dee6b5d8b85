"""Each port's real adapter, from settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.params import load_params
from lifecycle.core.settings import Settings

if TYPE_CHECKING:
    from lifecycle.core.ports import Engine, Ledger, OpenVault, Registry, ReleaseStore, Signer, Vault
    from lifecycle.core.record import RecordSchema
    from lifecycle.data.log_parts import CompactedLog
    from lifecycle.data.workspace import GitDvcWorkspace
    from lifecycle.serving.keys import KeyFile


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
            system, schema, office.table, office.trail, office.gate, signer, actor=settings.actor
        )

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
    from lifecycle.serving.keys import KeyFile

    return KeyFile(settings.key_file)


def open_log(settings: Settings, system: str) -> CompactedLog:
    """The Parquet side of a system's prediction log.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.data.log_parts import CompactedLog

    load_params(settings.project).system(system)
    return CompactedLog(settings.log / system, system)


def made(folder: Path) -> Path:
    """A folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
