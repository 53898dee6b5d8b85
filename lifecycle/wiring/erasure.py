"""The flows of the office: a person is erased, keys turn; from settings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.clock import SystemClock
from lifecycle.core.settings import Settings
from lifecycle.wiring.adapters import open_ledger, open_store
from lifecycle.wiring.records import open_office, parse_ref

if TYPE_CHECKING:
    from lifecycle.records.scan import Place
    from lifecycle.records.status import KeyStatus
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
    places, stores, remotes = _places(settings, system)
    return Eraser(
        name=system,
        ref=subject,
        admit=partial(office.admit, "erase", system, refs=(subject,)),
        actor=settings.actor,
        erasure=office.erasure,
        places=places,
        stores=stores,
        remotes=remotes,
        ledger=open_ledger(settings),
        store=open_store(settings),
        signer=office.receipt_signer,
        clock=SystemClock(),
        receipts=settings.receipts,
        queue_update=queue_update,
    )


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


def _places(
    settings: Settings, system: str
) -> tuple[tuple[Place, ...], tuple[Path, ...], tuple[Remote, ...]]:
    """Where records of a system lie: folders, those of them with DVC's objects, and a remote elsewhere."""
    from lifecycle.data.dvc_objects import cache_of
    from lifecycle.data.dvc_remote import open_remote
    from lifecycle.data.storage import without_secrets
    from lifecycle.records.scan import Place
    from lifecycle.steps.erase import Remote

    named = {"DVC cache": cache_of(settings.project)}
    remotes: tuple[Remote, ...] = ()
    if "://" in settings.remote:
        told = without_secrets(settings.remote)
        remotes = (Remote("DVC remote", told, partial(open_remote, settings)),)
    else:
        named["DVC remote"] = settings.project / settings.remote
    stores = tuple(named.values())
    named["worktree"] = settings.state / "worktrees" / system
    named["prediction log"] = settings.log / system
    named["other state"] = settings.state
    named["project: inputs, batch results, checkouts"] = settings.project
    paths = {name: path.absolute() for name, path in named.items()}
    places = tuple(
        Place(name, path, tuple(other for other in paths.values() if other != path))
        for name, path in paths.items()
    )
    return places, stores, remotes
