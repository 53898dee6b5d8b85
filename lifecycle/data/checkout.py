"""Snapshots outside the worktrees: in the user's ordinary checkout, and in a clean clone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.core.errors import ConfigError, StateError
from lifecycle.core.layout import Layout
from lifecycle.core.settings import Settings
from lifecycle.core.suggest import nearest
from lifecycle.data.branch import LOCK, Branch, pointer, snapshot_id
from lifecycle.data.dvc import Dvc
from lifecycle.data.git import Git
from lifecycle.data.storage import storing
from lifecycle.data.workspace import STAGES, keep_out_of_git, prefix_of

_SHORTEST = 4


def checkout_data(settings: Settings, system: str, at: str | None = None) -> str:
    """Bring a snapshot into the user's checkout, so that ``dvc repro`` and ``dvc exp run`` work there.

    Writes ``data/<system>`` and its pointer, and ``dvc.lock`` where the checkout has none. Nothing is
    committed or staged.

    Args:
        settings: Where things are.
        system: Name of the system.
        at: The start of a snapshot's id, or a commit; the newest snapshot if None.

    Returns:
        The snapshot's id.

    Raises:
        ConfigError: There is no such snapshot.
        StateError: It would overwrite a pointer or data that are saved nowhere else.
        StorageError: Neither cache nor remote has all the data.
    """
    project = settings.project
    git = Git(project)
    branch = Branch(git, system, prefix_of(project))
    commit = _find(branch, system, at)
    content = git.run("cat-file", "blob", f"{commit}:{branch.pointer}") + "\n"
    file = Layout(project, system).pointer
    if file.exists() and file.read_text(encoding="utf-8") != content:
        _require_saved(branch, system, file)
    keep_out_of_git(settings.state)
    with _written(file, content), Dvc(settings, project, _log(settings, system), own=True) as dvc:
        dvc.pull([pointer(system)], force=False)
    lock = git.ask("cat-file", "blob", f"{commit}:{branch.lock}")
    if lock is not None and not (project / LOCK).exists():
        (project / LOCK).write_text(f"{lock}\n", encoding="utf-8")
    return snapshot_id(content)


def reproduce(settings: Settings, system: str, commit: str, folder: Path) -> Path:
    """Retrain from a commit in a clean clone: its code, its parameters and its data, every stage run.

    Args:
        settings: Where things are.
        system: Name of the system.
        commit: A commit of ``lifecycle/<system>`` that holds pointer and lock.
        folder: Where to; must be absent or empty.

    Returns:
        The project's folder in the clone; what the stages made lies below it.

    Raises:
        ConfigError: No such commit, or the folder is in use.
        StorageError: Neither cache nor remote has all the data.
        StageError: A stage failed.
    """
    prefix = prefix_of(settings.project)
    git = Git(settings.project)
    found = git.resolve(commit)
    if found is None or git.entry(found, f"{prefix}{pointer(system)}") is None:
        raise ConfigError(
            f"{commit[:12]} is not a commit with data of {system}",
            hint=f"see them with: git log lifecycle/{system}",
        )
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", hint="name a folder that does not exist yet")
    with storing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    git.run("clone", "--quiet", "--no-checkout", "--template=", str(git.top()), str(folder))
    git.within(folder).run("checkout", "--quiet", "--detach", found)
    root = folder / prefix
    with Dvc(settings, root, _log(settings, system)) as dvc:
        dvc.pull([pointer(system)])
        for stage in STAGES:
            dvc.reproduce(f"{stage}@{system}", force=True)
    return root


def _find(branch: Branch, system: str, at: str | None) -> str:
    """The commit that holds the snapshot asked for."""
    if branch.tip is None:
        raise ConfigError(
            f"{system} has no snapshot yet", hint=f"make one: lifecycle first-deployment {system}"
        )
    if at is None:
        return branch.tip
    known = _snapshots(branch)
    matches = [identity for identity in known if identity.startswith(at)] if len(at) >= _SHORTEST else []
    if len(matches) > 1:
        raise ConfigError(f"{at} is the start of {len(matches)} snapshots", hint="give more of the id")
    if matches:
        return known[matches[0]]
    commit = branch.git.resolve(at)
    if commit is None or branch.git.entry(commit, branch.pointer) is None:
        newest = ", ".join(identity[:12] for identity in list(known)[:3])
        raise ConfigError(
            f"{at!r} is neither a snapshot nor a commit of {system}{nearest(at, known)}",
            hint=f"the newest snapshots are {newest}; all: git log lifecycle/{system}",
        )
    return commit


def _snapshots(branch: Branch) -> dict[str, str]:
    """Snapshot -> the newest commit that brought it, newest first."""
    assert branch.tip is not None, "the caller looked"
    git, path = branch.git, branch.pointer
    commits = git.run("log", "--first-parent", "--format=%H", branch.tip, "--", f":(top,literal){path}")
    found: dict[str, str] = {}
    for commit in commits.split():
        content = git.ask("cat-file", "blob", f"{commit}:{path}")
        if content:
            found.setdefault(snapshot_id(content), commit)
    return found


@contextmanager
def _written(file: Path, content: str) -> Iterator[None]:
    """Write a file for the block; if that fails, put back what was there."""
    before = file.read_text(encoding="utf-8") if file.exists() else None
    with storing(str(file)):
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
    try:
        yield
    except BaseException:
        if before is None:
            file.unlink()
        else:
            file.write_text(before, encoding="utf-8")
        raise


def _require_saved(branch: Branch, system: str, file: Path) -> None:
    """Refuse to overwrite a pointer that neither the user's HEAD nor the branch's history holds."""
    committed = branch.git.ask("cat-file", "blob", f"HEAD:{branch.pointer}")
    content = file.read_text(encoding="utf-8").rstrip("\n")
    if content == committed or snapshot_id(content) in _snapshots(branch):
        return
    raise StateError(
        f"{pointer(system)} has changes that are committed nowhere",
        hint=f"commit them or remove them: rm {pointer(system)}",
    )


def _log(settings: Settings, system: str) -> Path:
    return settings.state / "logs" / f"dvc-{system}.log"
