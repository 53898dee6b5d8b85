"""The folder where one system's flows work: a git worktree that is made, mended and cleared here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lifecycle.data.git import Git


class Worktree:
    """A detached worktree of the user's repository, used by the holder of the system's lock alone.

    Args:
        top: Where it lies.
        prefix: The project's folder inside the repository; empty where it is the repository's root.
        user: git in the user's project.
        ref: The system's branch; a lock on it that a killed process left is removed.
        kept: Untracked folders of the project that stay from flow to flow.
    """

    def __init__(self, top: Path, prefix: str, user: Git, ref: str, kept: Sequence[str]) -> None:
        self.top = top
        self.root = top / prefix
        self.git = user.within(top)
        self._user = user
        self._common = user.common()
        self._ref = ref
        self._kept = (*(f"/{prefix}{path}" for path in kept), "__pycache__")

    def show(self, tree: str, commit: str) -> None:
        """Make the folder hold exactly this tree, and what is kept.

        Args:
            tree: What to show.
            commit: A commit for the worktree's HEAD.
        """
        self._mend(commit)
        self.git.run("read-tree", "--reset", "-u", tree)
        excluded = [word for path in self._kept for word in ("-e", path)]
        self.git.run("clean", "-ffdxq", *excluded)
        self.git.run("update-ref", "--no-deref", "HEAD", commit)

    def _mend(self, commit: str) -> None:
        """Remove what a killed process left; make the worktree anew if it is not whole."""
        (self._common / f"{self._ref}.lock").unlink(missing_ok=True)
        registered = self._registered()
        if registered is None:
            shutil.rmtree(self.top, ignore_errors=True)
            self.top.parent.mkdir(parents=True, exist_ok=True)
            # Forced twice: take over an entry whose folder is missing, even a half-made (locked) one.
            flags = ("--force", "--force", "--detach", "--no-checkout")
            self._user.run("worktree", "add", *flags, str(self.top), commit)
            return
        for lock in ("index.lock", "HEAD.lock", "ORIG_HEAD.lock"):
            (registered / lock).unlink(missing_ok=True)
        for lock in ("lock", "rwlock", "rwlock.lock"):
            (self.root / ".dvc" / "tmp" / lock).unlink(missing_ok=True)

    def _registered(self) -> Path | None:
        """The folder git keeps for this worktree, if the two name each other and are whole."""
        try:
            link = (self.top / ".git").read_text(encoding="utf-8").strip()
            folder = (self.top / link.removeprefix("gitdir: ")).resolve()
            back = (folder / (folder / "gitdir").read_text(encoding="utf-8").strip()).resolve()
            head = (folder / "HEAD").read_text(encoding="utf-8").strip()
            mark = folder / "locked"
            half_made = mark.exists() and mark.read_text(encoding="utf-8").strip() == "initializing"
        except OSError:
            return None
        ours = folder.parent == self._common.resolve() / "worktrees"
        mutual = back == self.top.resolve() / ".git"
        return folder if ours and mutual and head and not half_made else None
