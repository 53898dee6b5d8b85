"""The flows of the office: a person is erased, keys turn; from settings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.clock import SystemClock
from lifecycle.core.settings import Settings
from lifecycle.wiring.adapters import (
    actor_of,
    open_ledger,
    open_log,
    open_store,
    schema_of_system,
    vault_opener,
)
from lifecycle.wiring.records import open_office, parse_ref

if TYPE_CHECKING:
    from lifecycle.records.scan import Place
    from lifecycle.records.status import KeyStatus
    from lifecycle.steps.affected import ModelLineage
    from lifecycle.steps.erase import Eraser, QueueUpdate, Remote
    from lifecycle.steps.rotate import Rotator


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
    office, subject = open_office(settings), parse_ref(ref)
    places, remotes = _places(settings, system)
    return Eraser(
        name=system,
        ref=subject,
        admit=partial(office.admit, "erase", system, refs=(subject,)),
        actor=actor_of(settings),
        erasure=office.erasure,
        places=places,
        remotes=remotes,
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

    def admit(count: int) -> None:
        office.admit("rotate", system, detail="kek, table", count=count)

    return Rotator(name=system, status=status, admit=admit, rotation=office.rotation)


def _stores(settings: Settings) -> dict[str, Path]:
    """The folders that hold DVC's objects, by what they are."""
    from lifecycle.data.dvc_objects import cache_of

    stores = {"DVC cache": cache_of(settings.project)}
    if not _is_remote(settings):
        stores["DVC remote"] = settings.project / settings.remote
    return stores


def _places(settings: Settings, system: str) -> tuple[tuple[Place, ...], tuple[Remote, ...]]:
    """Where records of a system lie: folders, and a remote elsewhere."""
    from lifecycle.data.dvc_remote import open_remote
    from lifecycle.data.storage import without_secrets
    from lifecycle.records.scan import Place
    from lifecycle.steps.erase import Remote

    named = _stores(settings)
    remotes: tuple[Remote, ...] = ()
    if _is_remote(settings):
        told = without_secrets(settings.remote)
        remotes = (Remote("DVC remote", told, partial(open_remote, settings)),)
    named["worktree"] = settings.state / "worktrees" / system
    named["prediction log"] = settings.log / system
    named["other state"] = settings.state
    named["project: inputs, batch results, checkouts"] = settings.project
    paths = {name: path.absolute() for name, path in named.items()}
    places = tuple(
        Place(name, path, tuple(other for other in paths.values() if other != path))
        for name, path in paths.items()
    )
    return places, remotes


def _is_remote(settings: Settings) -> bool:
    """Whether DVC's remote is reached over a network."""
    return "://" in settings.remote
