"""Every run is a commit: snapshots and training of one system, in a worktree the user never sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.errors import ConfigError, StateError
from lifecycle.core.layout import Layout
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import OpenVault
from lifecycle.core.settings import Settings
from lifecycle.core.system import System
from lifecycle.core.values import Snapshot, Split, TrainingRun
from lifecycle.data.branch import LOCK, Branch, pointer
from lifecycle.data.dvc import Dvc
from lifecycle.data.git import Git
from lifecycle.data.locks import SystemLock
from lifecycle.data.storage import storing
from lifecycle.data.worktree import Worktree

if TYPE_CHECKING:
    from lifecycle.data.ingest import Ingested

STAGES = ("split", "train", "evaluate")
"""The stages of ``dvc.yaml``, in order; each is there for every system, as ``train@house-prices``."""

_BROUGHT = ("data/*.dvc", "data/.gitignore", LOCK)
"""What ``lifecycle data checkout`` and ``dvc repro`` leave in a checkout; the branch has its own."""
_NAMED_FILES = 5


@dataclass
class _Flow:
    """What is open while the system is held.

    Attributes:
        head: The user's commit that the flow works from; None until prepared.
    """

    git: Git
    branch: Branch
    worktree: Worktree
    head: str | None = None
    dvc: Dvc | None = None


class GitDvcWorkspace:
    """The workspace of one system; implements the port ``Workspace``.

    Its methods may each be called alone, or all under one ``locked()``, which keeps DVC's process.

    Args:
        settings: Where things are.
        system: Name of the system.
        open_vault: Seals what is sensitive.
    """

    def __init__(self, settings: Settings, system: str, open_vault: OpenVault = lambda _schema: None) -> None:
        self._settings = settings
        self._system = system
        self._open_vault = open_vault
        self._lock: int | None = None
        self._flow: _Flow | None = None
        self._closing = ExitStack()

    @cached_property
    def _prefix(self) -> str:
        return prefix_of(self._settings.project)

    @property
    def root(self) -> Path:
        """The project's folder inside the worktree."""
        return self._home / self._prefix

    @property
    def _home(self) -> Path:
        return self._settings.state / "worktrees" / self._system

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the system for the block.

        Raises:
            BusyError: Another flow holds it.
        """
        state = self._settings.state
        keep_out_of_git(state)
        with (
            SystemLock(state / "locks" / f"{self._system}.lock", self._system).held() as lock,
            ExitStack() as self._closing,
        ):
            self._lock = lock
            try:
                yield
            finally:
                self._lock = self._flow = None

    def prepare(self) -> tuple[str, ...]:
        """Show the user's last commit in the worktree, with the branch's own pointer and lock.

        Returns:
            Warnings, such as files whose uncommitted changes are left out.

        Raises:
            ConfigError: There is no git repository, no commit, or no DVC in it; or the branch is taken.
        """
        with self._held():
            flow = self._opened()
            flow.branch.require_free()
            flow.head = self._head(flow.git)
            self._show(flow, flow.head)
            self._dvc(flow)  # its process imports while the sources are read
            return self._warnings(flow.git)

    def snapshot(self, system: System, params: SystemParams, as_of: datetime) -> Snapshot:
        """Ingest all sources as of a moment; version, push and commit what changed.

        Sources are read from the user's project folder; everything else is as committed.

        Raises:
            StorageError: A disk or the remote refuses to store; nothing is committed.
            LifecycleError: Whatever ingestion raises.
        """
        with self._held():
            flow = self._opened()
            warnings = () if flow.head else self.prepare()
            assert flow.head is not None, "prepared"
            layout = Layout(self.root, self._system)
            with storing(str(layout.data)):
                layout.data.mkdir(parents=True, exist_ok=True)
                found = self._read(system, params, as_of, layout.data)
            dvc, branch = self._dvc(flow), flow.branch
            identity = dvc.add(f"data/{self._system}")
            dvc.push([pointer(self._system)])
            entries = {branch.pointer: flow.git.store(layout.pointer)}
            message = f"Snapshot of {self._system} as of {as_of:%Y-%m-%d %H:%M %Z}"
            commit = branch.add(flow.head, entries, self._scratch, message)
            return Snapshot(
                system=self._system,
                id=identity,
                commit=flow.git.last_change(commit, [branch.pointer]),
                last_event=found.last_event,
                counts=found.counts,
                origins=found.origins,
                months=found.months,
                quarantine=str(found.quarantine) if found.quarantine else None,
                warnings=warnings,
            )

    def train(self, snapshot: Snapshot) -> TrainingRun:
        """Run the stages that DVC finds out of date; push and commit what they made.

        Where the split has too little data, the later stages do not run.

        Raises:
            StateError: The branch holds another snapshot by now.
            StageError: A stage failed; nothing is committed.
            LifecycleError: A stage's own error.
        """
        with self._held():
            flow = self._opened()
            tip = self._return_to(flow, snapshot)
            dvc, branch, layout = self._dvc(flow), flow.branch, Layout(self.root, self._system)
            dvc.pull([pointer(self._system)])
            dvc.restore(self._stages(*STAGES))
            ran = self._run(dvc, "split")
            split = Split.model_validate_json((layout.split / "split.json").read_bytes())
            done = STAGES if split.ok else STAGES[:1]
            ran += self._run(dvc, *done[1:])
            dvc.push(self._stages(*done))
            message = f"Train {self._system}: {', '.join(ran) or 'nothing new'}"
            entries = {branch.lock: flow.git.store(self.root / LOCK)}
            commit = branch.add(tip, entries, self._scratch, message)
            return TrainingRun(
                system=self._system,
                snapshot=snapshot,
                commit=flow.git.last_change(commit, [branch.pointer, branch.lock]),
                ran=ran,
                folder=str(self.root),
                split=split,
            )

    def _held(self) -> AbstractContextManager[None]:
        return self.locked() if self._lock is None else nullcontext()

    def _opened(self) -> _Flow:
        if self._flow is None:
            assert self._lock is not None, "callers hold the system"
            git = Git(self._settings.project, inherit=[self._lock])
            branch = Branch(git, self._system, self._prefix)
            kept = (f"data/{self._system}", f"artifacts/{self._system}", ".dvc/tmp")
            worktree = Worktree(self._home, self._prefix, git, branch.ref, kept)
            self._flow = _Flow(git, branch, worktree)
        return self._flow

    def _head(self, git: Git) -> str:
        """The user's last commit, if flows can work from it."""
        project = self._settings.project
        head = git.resolve("HEAD")
        if head is None:
            raise ConfigError(
                f"nothing is committed yet in {project}", hint="run: git add -A && git commit -m start"
            )
        if git.entry(head, f"{self._prefix}.dvc/config") is None:
            subdir = " --subdir" if self._prefix else ""
            init = "" if (project / ".dvc" / "config").is_file() else f"dvc init{subdir} && "
            raise ConfigError(
                f"the last commit of {project} has no DVC project in it",
                hint=f"run: {init}git add .dvc .dvcignore && git commit -m 'Track data with DVC'",
            )
        return head

    def _show(self, flow: _Flow, base: str) -> None:
        with storing(str(self._home)):
            self._scratch.parent.mkdir(parents=True, exist_ok=True)
            flow.worktree.show(flow.branch.tree(base, {}, self._scratch), base)

    def _return_to(self, flow: _Flow, snapshot: Snapshot) -> str:
        """Show the branch's tip, which must hold the snapshot; returns the tip."""
        held = flow.branch.snapshot()
        if flow.branch.tip is None or held != snapshot.id:
            raise StateError(
                f"{self._system}: snapshot {snapshot.id[:12]} is not the newest, {(held or 'none')[:12]} is",
                hint=f"start again from the data: lifecycle update {self._system}",
            )
        self._show(flow, flow.branch.tip)
        return flow.branch.tip

    @property
    def _scratch(self) -> Path:
        return self._home.with_suffix(".index")

    def _dvc(self, flow: _Flow) -> Dvc:
        if flow.dvc is None:
            assert self._lock is not None, "callers hold the system"
            log = self._settings.state / "logs" / f"dvc-{self._system}.log"
            flow.dvc = self._closing.enter_context(Dvc(self._settings, self.root, log, inherit=[self._lock]))
        return flow.dvc

    def _read(self, system: System, params: SystemParams, as_of: datetime, out: Path) -> Ingested:
        from lifecycle.data.ingest import ingest  # Polars is heavy

        quarantine = self._settings.state / "quarantine" / self._system / f"{as_of:%Y-%m-%d}.jsonl"
        log = self._settings.log / self._system
        vault = self._open_vault(system.schema)
        return ingest(system.schema, params, self._settings.project, as_of, out, quarantine, log, vault)

    def _stages(self, *names: str) -> list[str]:
        return [f"{name}@{self._system}" for name in names]

    def _run(self, dvc: Dvc, *names: str) -> tuple[str, ...]:
        return tuple(name for name in names if dvc.reproduce(f"{name}@{self._system}"))

    def _warnings(self, git: Git) -> tuple[str, ...]:
        files = git.dirty(_BROUGHT)
        if not files:
            return ()
        named = ", ".join(files[:_NAMED_FILES])
        more = f" and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else ""
        one = len(files) == 1
        return (
            f"{len(files)} file{'' if one else 's'} with uncommitted changes {'is' if one else 'are'} "
            f"left out of this run's commit: {named}{more}",
        )


def prefix_of(project: Path) -> str:
    """A project's folder inside its git repository: empty for the root, otherwise ending in a slash.

    Raises:
        ConfigError: It is in no git repository.
    """
    relative = project.relative_to(Git(project).top().resolve()).as_posix()
    return "" if relative == "." else f"{relative}/"


def keep_out_of_git(state: Path) -> None:
    """Make the state folder, and make git (and ``git status``) pass over it."""
    mark = state / ".gitignore"
    with storing(str(state)):
        state.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            mark.write_text("*\n", encoding="utf-8")
