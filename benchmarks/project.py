"""A fresh clone of the repository, driven through the command line, without a server."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import PYTHON, Ended, environment, run
from lifecycle.core.settings import Settings

EXIT_HELD = 11
_STEP = re.compile(r"^  (\S.*?) +(\d+\.\d) s  ", re.MULTILINE)


@dataclass(frozen=True)
class Story:
    """What happens to a system.

    Attributes:
        system: Its name.
        first: The moment of the first deployment.
        second: The moment of the update.
        later: A moment by which no further label has matured.
    """

    system: str
    first: str
    second: str
    later: str


HOUSE_PRICES = Story("house-prices", first="1996-01-01", second="1998-01-01", later="1998-01-01T12:00")


@dataclass(frozen=True)
class Flow:
    """A flow that has ended.

    Attributes:
        seconds: From the start of the command to its end.
        steps: Step, as the command shows it -> seconds.
        result: What ``--json`` prints.
    """

    seconds: float
    steps: dict[str, float]
    result: dict[str, Any]


class Project:
    """A project in which the system was deployed once, and which can be brought back to that moment.

    Attributes:
        root: Its folder.
        story: What happens in it.
        as_of: The moment of the last flow.
    """

    def __init__(self, root: Path, story: Story) -> None:
        self.root = root
        self.story = story
        self.as_of = story.first
        self._kept = root.with_name(f"{root.name} as deployed")

    @classmethod
    def deployed(cls, root: Path, repository: Path, story: Story) -> Project:
        """Clone the last commit of a repository, and deploy for the first time."""
        subprocess.run(["git", "clone", "--quiet", str(repository), str(root)], check=True)
        project = cls(root, story)
        project.flow("first-deployment", story.first)
        shutil.copytree(root, project._kept, symlinks=True)
        return project

    @property
    def settings(self) -> Settings:
        """Of the project."""
        return Settings(project=self.root, home=Path(".lifecycle"))

    @property
    def worktree(self) -> Path:
        """Where the system's flows work."""
        return self.settings.state / "worktrees" / self.story.system

    def restore(self) -> None:
        """Bring back the moment after the first deployment, at the same place."""
        shutil.rmtree(self.root)
        shutil.copytree(self._kept, self.root, symlinks=True)
        self.as_of = self.story.first

    def flow(self, verb: str, as_of: str, extra: Mapping[str, str] | None = None) -> Flow:
        """Run ``first-deployment`` or ``update``; what it decides is no matter here."""
        words = (verb, self.story.system, "--as-of", as_of, "--json")
        done = self.lifecycle(*words, extra=extra, accept=(0, EXIT_HELD))
        self.as_of = as_of
        steps = {name: float(seconds) for name, seconds in _STEP.findall(done.stderr)}
        return Flow(done.seconds, steps, json.loads(done.stdout))

    def lifecycle(
        self, *words: str, extra: Mapping[str, str] | None = None, accept: tuple[int, ...] = (0,)
    ) -> Ended:
        """Run a `lifecycle` command."""
        command = (*PYTHON, "-m", "lifecycle", *words)
        return run(command, self.root, environment(self.root, extra), accept=accept)

    @property
    def versions(self) -> int:
        """How many versions are registered."""
        uri = f"file:{self.settings.state / 'mlflow' / 'mlflow.db'}?mode=ro"
        with sqlite3.connect(uri, uri=True) as database:
            (count,) = database.execute("SELECT count(*) FROM model_versions").fetchone()
        database.close()
        return int(count)
