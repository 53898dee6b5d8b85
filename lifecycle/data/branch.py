"""A system's branch, ``lifecycle/<system>``: what it holds, and how a commit is added to it.

A commit's tree is the tree of the user's HEAD with two files of the system's own put in: the pointer to the
data and DVC's lock. Its parents are the branch's tip and that HEAD. So nothing is ever merged, no conflict
can arise, and the user's checkout, index, branch and hooks take no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from lifecycle.core.errors import ConfigError
from lifecycle.data.git import Git

LOCK = "dvc.lock"


def pointer(system: str) -> str:
    """DVC's pointer to a system's data, from the project's root."""
    return f"data/{system}.dvc"


def snapshot_id(content: str) -> str:
    """The snapshot that a pointer's content names: DVC's hash of the folder.

    Example:
        >>> snapshot_id("outs: [{md5: 8a2f.dir, path: house-prices}]")
        '8a2f.dir'
    """
    return str(yaml.safe_load(content)["outs"][0]["md5"])


class Branch:
    """The branch of one system.

    Args:
        git: git in the user's project.
        system: Name of the system.
        prefix: The project's folder inside the repository: empty, or ending in a slash.

    Attributes:
        ref: Its full name.
        tip: Its newest commit; None before the first snapshot.
    """

    def __init__(self, git: Git, system: str, prefix: str) -> None:
        self.git = git
        self.ref = f"refs/heads/lifecycle/{system}"
        self.pointer = f"{prefix}{pointer(system)}"
        self.lock = f"{prefix}{LOCK}"
        self.tip = git.resolve(self.ref)

    def require_free(self) -> None:
        """Refuse to move a branch that somebody has checked out, or that cannot be made.

        Raises:
            ConfigError: It is checked out; or another branch's name is in the way.
        """
        name = self.ref.removeprefix("refs/heads/")
        if self.ref in self.git.branches_elsewhere():
            raise ConfigError(
                f"the branch {name} is checked out, and flows commit to it",
                hint="go back to a branch of your own: git switch -",
            )
        if self.git.resolve("refs/heads/lifecycle"):
            raise ConfigError(
                f"a branch named 'lifecycle' is in the way of {name}",
                hint="rename it: git branch -m lifecycle another-name",
            )

    def own(self) -> dict[str, str | None]:
        """The branch's own files -> id of the content at its tip (None: not there yet)."""
        return {path: self.tip and self.git.entry(self.tip, path) for path in (self.pointer, self.lock)}

    def snapshot(self) -> str | None:
        """The snapshot at its tip."""
        content = self.tip and self.git.ask("cat-file", "blob", f"{self.tip}:{self.pointer}")
        return snapshot_id(content) if content else None

    def tree(self, base: str, entries: Mapping[str, str | None], scratch: Path) -> str:
        """The tree of a commit with the branch's own files put in.

        Args:
            base: The commit.
            entries: Newer content for some of these files.
            scratch: A file for git to work with.
        """
        return self.git.overlay(base, self.own() | dict(entries), scratch)

    def add(self, base: str, entries: Mapping[str, str | None], scratch: Path, message: str) -> str:
        """Commit new content on top of the user's HEAD, or of the tip.

        A commit that would say nothing new is not made. That makes every run repeatable.

        Returns:
            The branch's tip.

        Raises:
            BusyError: Another process moved the branch meanwhile.
        """
        tree = self.tree(base, entries, scratch)
        if self.tip is None:
            parents = [base]
        elif self.git.contains(self.tip, base):
            if tree == self.git.tree(self.tip):
                return self.tip
            parents = [self.tip]
        else:
            parents = [self.tip, base]
        commit = self.git.commit(tree, parents, message)
        self.git.move(self.ref, commit, self.tip)
        self.tip = commit
        return commit
