"""A small real project: git, DVC, a CSV source, and stages that are one short script.

A test module names this one in ``pytest_plugins``, so that the template is made once for all of them; and
since it also imports from here: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

import pytest

from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.settings import Settings
from lifecycle.core.system import System
from lifecycle.core.values import Snapshot, TrainingRun
from lifecycle.data.workspace import GitDvcWorkspace

AS_OF = datetime(2020, 6, 1, tzinfo=UTC)

PARAMS = """\
systems:
  meter: &meter
    entry: unused:SYSTEM
    code: pipeline.py
    lock: requirements.lock
    seed: 1
    sources: [{origin: user, kind: csv, path: rows.csv}]
    split: {validation_days: 5, test_days: 5}
    evaluation: {margin: 0.02}
  gauge: *meter
"""

PIPELINE = '''\
"""The stages split, train and evaluate of a system: sums instead of models."""
import json, os, pathlib, signal, sys

stage, system = sys.argv[1:]
if os.environ.get("HANG_IN") == stage:
    pathlib.Path(os.environ["HANG_FIFO"]).write_text(str(os.getpid()))
    signal.pause()
home = pathlib.Path("artifacts", system)
size = sum(path.stat().st_size for path in pathlib.Path("data", system).glob("*.parquet"))
if pathlib.Path("fail").exists():
    print(pathlib.Path("fail").read_text(), file=sys.stderr), sys.exit(4)

print(stage, "in", os.environ["LIFECYCLE_PROJECT"], "with", os.environ["LIFECYCLE_HOME"])

def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))

if stage == "split":
    months = len(list(pathlib.Path("data", system).glob("*.parquet")))
    day = {"start": "2020-01-01T00:00:00Z", "end": "2020-02-01T00:00:00Z", "rows": months}
    write(home / "split/manifest.parquet", size)
    write(home / "split/split.json", {"ok": months > 1, "reason": "" if months > 1 else "1 month, 2 needed",
                                      "train": day, "validation": day, "test": day, "digest": str(size)})
elif stage == "train":
    write(home / "model/model.onnx", size)
else:
    write(home / "evaluation/metrics.json", {"mae": size})
'''

FLOW = """\
import os, signal, sys
from pathlib import Path
from lifecycle.data import branch, dvc, git
from tests.data.workspace_fixtures import Project, declare, AS_OF

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

root, system, at = sys.argv[1:]
project = Project(Path(root), Path(root))
if at:
    where, _, name = at.partition(".")
    owner = {"Dvc": dvc.Dvc, "Branch": branch.Branch, "Git": git.Git}[where]
    setattr(owner, name, die)
workspace = project.workspace(system)
with workspace.locked():
    workspace.train(workspace.snapshot(declare(system), project.params(system), AS_OF))
"""

STAGES = """\
stages:
  split:
    foreach: ${systems}
    do:
      cmd: python pipeline.py split ${key}
      deps: ["data/${key}", "${item.code}", "${item.lock}"]
      params: ["systems.${key}.split"]
      outs: ["artifacts/${key}/split/manifest.parquet", "artifacts/${key}/split/split.json"]
  train:
    foreach: ${systems}
    do:
      cmd: python pipeline.py train ${key}
      deps: ["data/${key}", "artifacts/${key}/split/manifest.parquet", "${item.code}", "${item.lock}"]
      params: ["systems.${key}.seed"]
      outs: ["artifacts/${key}/model"]
  evaluate:
    foreach: ${systems}
    do:
      cmd: python pipeline.py evaluate ${key}
      deps: ["data/${key}", "artifacts/${key}/model"]
      params: ["systems.${key}.evaluation"]
      metrics: ["artifacts/${key}/evaluation/metrics.json"]
"""


class Reading(Record):
    """One reading of a meter."""

    reading_id: Annotated[str, RecordId()]
    taken_on: Annotated[date, EventTime()]
    degrees: Annotated[float, Feature()]
    load: Annotated[float, Label(delay=timedelta(days=1))]


def declare(name: str) -> System:
    """A system of readings; its model is never built here."""
    return System(
        name=name,
        record=Reading,
        task="regression",
        build_model=lambda seed: seed,
        metrics=("mae",),
        primary="mae",
    )


class Run(NamedTuple):
    """What a flow was told, versioned and trained."""

    warnings: tuple[str, ...]
    snapshot: Snapshot
    training: TrainingRun


@dataclass
class Project:
    """A user's project, and what a user does in it.

    Attributes:
        top: The root of the git repository.
        root: The project's folder in it.
    """

    top: Path
    root: Path

    @property
    def settings(self) -> Settings:
        return Settings(project=self.root)

    def workspace(self, system: str = "meter") -> GitDvcWorkspace:
        return GitDvcWorkspace(self.settings, system)

    def params(self, system: str = "meter") -> SystemParams:
        return load_params(self.root).system(system)

    def snapshot(self, workspace: GitDvcWorkspace | None = None, as_of: datetime = AS_OF) -> Snapshot:
        """A snapshot of the system ``meter``, in a flow of its own or in one that is open."""
        return (workspace or self.workspace()).snapshot(declare("meter"), self.params(), as_of)

    def run(self, workspace: GitDvcWorkspace | None = None, as_of: datetime = AS_OF) -> Run:
        """What a whole flow does with the workspace of ``meter``."""
        if workspace is None:
            workspace = self.workspace()
            with workspace.locked():
                return self.run(workspace, as_of)
        warnings = workspace.prepare()
        snapshot = self.snapshot(workspace, as_of)
        return Run(warnings, snapshot, workspace.train(snapshot))

    def start_flow(
        self, system: str = "meter", dies_at: str = "", **environment: str
    ) -> subprocess.Popen[str]:
        """A flow in a process of its own.

        Args:
            system: Name of the system.
            dies_at: The method, such as ``Dvc.push``, in whose place the process kills itself.
            environment: More variables.
        """
        return subprocess.Popen(
            [sys.executable, "-c", FLOW, str(self.root), system, dies_at],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, text=True, capture_output=True, check=True)
        return done.stdout.strip()

    def dvc(self, *arguments: str) -> str:
        """Run DVC as a developer does in the ordinary checkout."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "DVC_SITE_CACHE_DIR": str(self.settings.state / "dvc" / "users"),
                "DVC_GLOBAL_CONFIG_DIR": str(self.settings.state / "dvc" / "config"),
            },
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write_rows(self, months: int, **loads: float) -> None:
        """Two readings a month; ``reading_3=7.5`` corrects the load of one."""
        lines = ["reading_id,taken_on,degrees,load"]
        for row in range(2 * months):
            name = f"reading_{row}"
            lines.append(
                f"{name},2020-{row // 2 + 1:02}-{5 + row % 2 * 10:02},{row}.5,{loads.get(name, row)}"
            )
        (self.root / "rows.csv").write_text("\n".join(lines) + "\n")

    def write_many_rows(self, count: int) -> None:
        """Readings of one month that do not compress well."""
        random = Random(0)
        lines = ["reading_id,taken_on,degrees,load"]
        lines += [
            f"r{row},2020-01-{row % 28 + 1:02},{random.random()},{random.random()}" for row in range(count)
        ]
        (self.root / "rows.csv").write_text("\n".join(lines) + "\n")

    def traces(self) -> tuple[str, bytes, str, str]:
        """What of the user's a flow must never touch: status, index, HEAD, stash."""
        status = self.git("--no-optional-locks", "status", "--porcelain")
        return (
            status,
            (self.top / ".git" / "index").read_bytes(),
            (self.top / ".git" / "HEAD").read_text(),
            self.git("stash", "list"),
        )

    @property
    def remote(self) -> Path:
        return self.settings.state / "remote"

    def objects(self) -> set[str]:
        """The files in the remote."""
        return {path.relative_to(self.remote).as_posix() for path in self.remote.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where Python may not write bytecode beside the sources, child processes share it in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory: pytest.TempPathFactory, bytecode: None) -> Path:
    """A committed project whose first snapshot and training are done."""
    project = make_project(tmp_path_factory.mktemp("template") / "work")
    project.run()
    return project.root


def make_project(root: Path, inside: str = "") -> Project:
    """Make and commit a project; git here knows no user name."""
    project = Project(root, root / inside)
    project.root.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    project.git("config", "user.name", "Ann")
    project.git("config", "user.email", "ann@example.org")
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "-q", *(["--subdir"] if inside else [])],
        cwd=project.root,
        env={**os.environ, "DVC_SITE_CACHE_DIR": str(project.settings.state / "dvc")},
        check=True,
    )
    for name, content in {
        "params.yaml": PARAMS,
        "pipeline.py": PIPELINE,
        "dvc.yaml": STAGES,
        "requirements.lock": "nothing==1\n",
        ".gitignore": ".lifecycle/\n/data/*\n!/data/*.dvc\n/artifacts/\n",
    }.items():
        (project.root / name).write_text(content)
    project.write_rows(3)
    project.commit("start")
    return project


@pytest.fixture
def repo(tmp_path: Path, trained_template: Path) -> Project:
    """A copy of the template. Its worktree still belongs to the template's repository: it is made anew."""
    return copy_project(trained_template, tmp_path / "work")


def copy_project(template: Path, root: Path) -> Project:
    shutil.copytree(template, root, symlinks=True)
    shutil.rmtree(root / ".git" / "worktrees")
    return Project(root, root)
