"""What could stop this machine and project from working, and how to mend it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lifecycle.core.errors import LifecycleError
from lifecycle.core.params import Params, SystemParams, load_params
from lifecycle.core.settings import Settings
from lifecycle.core.system import load_system
from lifecycle.core.values import Value
from lifecycle.wiring import (
    actor_of,
    addresses,
    open_ledger,
    open_office,
    open_store,
    schema_of_system,
    vault_opener,
)

LEAST_DISK_GB = 2


class Finding(Value):
    """One thing looked at.

    Attributes:
        name: What was looked at.
        ok: Whether it is as it should be.
        detail: What was found.
        hint: What to do, if it is not.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; what fails does not keep the rest from being looked at."""
    findings = [_python(), _git(settings), _dvc(settings), _disk(settings), *_servers(settings)]
    try:
        params = load_params(settings.project)
    except LifecycleError as error:
        return [*findings, Finding(name="params.yaml", ok=False, detail=error.message, hint=error.hint)]
    findings.append(Finding(name="params.yaml", ok=True, detail=f"describes {', '.join(params.systems)}"))
    return [*findings, *_systems(settings, params)]


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    detail = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(name="python", ok=ok, detail=detail, hint="" if ok else "install Python 3.11 or newer")


def _git(settings: Settings) -> Finding:
    if not shutil.which("git"):
        return Finding(name="git", ok=False, detail="not found", hint="install git")
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=settings.project,
        capture_output=True,
        text=True,
        check=False,
    )
    if head.returncode:
        return Finding(
            name="git",
            ok=False,
            detail="the project has no commit",
            hint='git init && git add -A && git commit -m "First"',
        )
    return Finding(name="git", ok=True, detail=f"at commit {head.stdout.strip()}")


def _dvc(settings: Settings) -> Finding:
    project = settings.project
    if not ((project / ".dvc" / "config").exists() and (project / "dvc.yaml").exists()):
        hint = "dvc init, and copy dvc.yaml from a project made by: lifecycle init DIR"
        return Finding(name="dvc", ok=False, detail="no .dvc folder, or no dvc.yaml", hint=hint)
    ignored = project / ".dvcignore"
    if not ignored.exists() or "__pycache__" not in ignored.read_text(encoding="utf-8"):
        detail = "bytecode that Python writes into a folder of code counts as a change of it"
        return Finding(
            name="dvc", ok=False, detail=detail, hint="echo __pycache__ >> .dvcignore, and commit it"
        )
    return Finding(name="dvc", ok=True, detail=f"remote {settings.remote}")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.project).free / 1e9
    ok = free >= LEAST_DISK_GB
    hint = "" if ok else f"free at least {LEAST_DISK_GB} GB below {settings.project}"
    return Finding(name="disk", ok=ok, detail=f"{free:.1f} GB free", hint=hint)


def _servers(settings: Settings) -> Iterator[Finding]:
    listening = addresses(settings)
    detail = ", ".join(f"{name} at {url}" for name, url in listening.items())
    yield Finding(name="servers", ok=True, detail=detail or "none is up; start them with: lifecycle up")


def _systems(settings: Settings, params: Params) -> Iterator[Finding]:
    for name, system in params.systems.items():
        yield _tried(f"{name}: code", partial(_loaded, system.entry, settings.project))
        yield _tried(f"{name}: sources", partial(_sources, system, settings, name))
        yield from _access(name, system, settings)
        yield _lock(name, settings.project / system.lock)
        yield _tried(f"{name}: live", partial(_live, settings, name))


def _loaded(entry: str, root: Path) -> str:
    schema = load_system(entry, root).schema
    return f"{entry}, {len(schema.features)} features, label {schema.label.name}"


def _sources(system: SystemParams, settings: Settings, name: str) -> str:
    from lifecycle.data.log_files import log_files
    from lifecycle.data.source_predictions import Logged
    from lifecycle.data.sources import open_sources

    root, schema = settings.project, schema_of_system(settings, name)
    files = log_files(schema, vault_opener(settings, name)(schema))
    logged = Logged(settings.log / name, datetime.now(UTC), files)
    parts = open_sources(schema, system.sources, root, logged)
    return f"{len(parts)} found, with the columns the record asks for"


def _access(name: str, system: SystemParams, settings: Settings) -> Iterator[Finding]:
    """Whether this actor may train on what is sealed; of other systems there is nothing to say."""
    try:
        schema = load_system(system.entry, settings.project).schema
    except LifecycleError:
        return  # said of the code already

    def allowed() -> str:
        open_office(settings).require_training(name, schema)
        return f"{actor_of(settings)} may train"

    if schema.is_sealed:
        yield _tried(f"{name}: access", allowed)


def _live(settings: Settings, name: str) -> str:
    live = open_ledger(settings).live(name)
    if live is None:
        return "nothing yet"
    open_store(settings).fetch(live.release)
    return f"version {live.version}, release {live.release.digest[:12]} verified"


def _lock(name: str, path: Path) -> Finding:
    """Whether the installed packages are those of the lock file."""
    if not path.exists():
        return Finding(
            name=f"{name}: lock", ok=False, detail=f"no {path.name}", hint="pip freeze > requirements.lock"
        )
    wrong = []
    for line in path.read_text(encoding="utf-8").splitlines():
        pinned = re.match(r"^([\w.-]+)==([\w.!+-]+)\s*\\?$", line)
        if not pinned:
            continue  # a hash, a comment, or a pin for another platform
        try:
            installed = version(pinned[1])
        except PackageNotFoundError:
            installed = "none"
        if installed != pinned[2]:
            wrong.append(f"{pinned[1]} {installed} instead of {pinned[2]}")
    return Finding(
        name=f"{name}: lock",
        ok=not wrong,
        detail="; ".join(wrong[:5]) or f"{path.name} is what is installed",
        hint=f"pip install -r {path.name}" if wrong else "",
    )


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=look())
    except LifecycleError as error:
        return Finding(name=name, ok=False, detail=error.message, hint=error.hint)
