"""A small project as `lifecycle init` makes it, and the command line to drive it with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.core.settings import Settings
from lifecycle.registry.connection import open_client, speaking
from lifecycle.rollout.ledger import SqlLedger
from lifecycle.scaffold.project import init

SYSTEM = "delivery-time"


@dataclass(frozen=True)
class Project:
    """A user's project, driven as a user drives it."""

    root: Path

    @property
    def settings(self) -> Settings:
        return Settings(project=self.root)

    @property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self.settings.ledger)

    def environment(self) -> dict[str, str]:
        own = ("LIFECYCLE_", "PREFECT_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"  # as in an activated environment
        return kept | {"PATH": path, "LIFECYCLE_PROJECT": str(self.root), "LIFECYCLE_ACTOR": "tester"}

    def run(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """A `lifecycle` command; its exit code must be the expected one."""
        return self.python("-m", "lifecycle", *words, expect=expect)

    def python(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", *words],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, expect: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", expect=expect).stdout)

    def registered(self) -> dict[str, Any]:
        """What a reviewer sees in MLflow: the versions, and the aliases."""
        with speaking(self.settings):
            client = open_client(self.settings)
            versions = [str(it.version) for it in client.search_model_versions(f"name='{SYSTEM}'")]
            aliases = client.get_registered_model(SYSTEM).aliases
        return {"versions": sorted(versions), "aliases": {name: str(it) for name, it in aliases.items()}}

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self.root, capture_output=True, text=True, check=True
        ).stdout

    def change_params(self, **sections: Any) -> None:
        """Change sections of the system's parameters, and commit."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        params["systems"][SYSTEM].update(sections)
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        self.git("-c", "user.name=tester", "-c", "user.email=tester@localhost", "commit", "-qam", "Change")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Path:
    """A project nobody has deployed from yet; MLflow's tables, which take seconds, are there to be copied."""
    folder = tmp_path_factory.mktemp("init") / "project"
    init(folder, SYSTEM, echo=lambda _line: None)
    settings = Settings(project=folder)
    with speaking(settings):
        open_client(settings)
    return folder


@pytest.fixture
def batch_project(fresh, tmp_path) -> Project:
    """One whose requirements need no server process, so that its flows are quick."""
    return copied(fresh, tmp_path, requirements={"mode": "batch"})


def copied(fresh: Path, folder: Path, **sections: Any) -> Project:
    """A copy of a project that nobody has deployed from, with other sections of parameters."""
    shutil.copytree(fresh, folder / "project", symlinks=True)
    project = Project(folder / "project")
    if sections:
        project.change_params(**sections)
    return project
