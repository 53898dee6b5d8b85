"""The one door to git: plumbing only, so that no hook, index or branch of the user's is ever involved."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lifecycle.core.errors import BusyError, ConfigError, StorageError

_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "gc.auto=0",
    "protocol.file.allow=always",
)
_IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "lifecycle"), ("EMAIL", "lifecycle@localhost"))
}
_KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


def without_git(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the caller's ``GIT_*``: inside a hook, GIT_DIR would point git elsewhere.

    Example:
        >>> without_git({"GIT_DIR": "/elsewhere", "HOME": "/root"})
        {'HOME': '/root'}
    """
    return {name: v for name, v in environment.items() if not name.startswith("GIT_") or name in _KEPT}


class Git:
    """Commands of git in one folder of a repository.

    Args:
        folder: Where commands run.
        inherit: Descriptors that git's processes keep open: the system's lock.
    """

    def __init__(self, folder: Path, inherit: Sequence[int] = ()) -> None:
        self.folder = folder
        self._inherit = tuple(inherit)
        self._environment = {
            **without_git(os.environ),
            **_IDENTITY,
            "LC_ALL": "C",
            "GIT_OPTIONAL_LOCKS": "0",  # `git status` must not rewrite the user's index
            "GIT_TERMINAL_PROMPT": "0",
        }

    def within(self, folder: Path) -> Git:
        """The same for another folder."""
        return Git(folder, self._inherit)

    def run(self, *arguments: str, stdin: str | None = None, index: Path | None = None) -> str:
        """Run a command and return what it prints.

        Args:
            arguments: The command, such as ``"rev-parse", "HEAD"``.
            stdin: What it reads.
            index: Another index file than the folder's own.

        Raises:
            StorageError: git failed; the message is git's.
            ConfigError: git is not installed.
        """
        done = self._execute(arguments, stdin, index)
        if done.returncode:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise StorageError(
                f"git {arguments[0]} failed in {self.folder}: {said}",
                hint="mend what git says, then run the same command again",
            )
        return done.stdout.rstrip("\n")

    def ask(self, *arguments: str) -> str | None:
        """What a question prints, or None where git says no."""
        done = self._execute(arguments, None, None)
        return None if done.returncode else done.stdout.rstrip("\n")

    def _execute(
        self, arguments: Sequence[str], stdin: str | None, index: Path | None
    ) -> subprocess.CompletedProcess[str]:
        command = ["git", *(word for setting in _CONFIG for word in ("-c", setting)), *arguments]
        environment = self._environment | ({"GIT_INDEX_FILE": str(index)} if index else {})
        try:
            return subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                input=stdin or "",
                capture_output=True,
                text=True,
                errors="surrogateescape",
                check=False,
                pass_fds=self._inherit,
            )
        except FileNotFoundError as error:
            missing = "git is not installed" if error.filename == "git" else f"no folder {self.folder}"
            raise ConfigError(missing, hint="install git 2.31 or later, and run this in a project") from None

    def top(self) -> Path:
        """The root of the working tree.

        Raises:
            ConfigError: The folder is in no git repository.
        """
        done = self._execute(["rev-parse", "--show-toplevel"], None, None)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ConfigError(
                f"{self.folder} is not in a git repository: {said[0] if said else 'git says no'}",
                hint=f"run: cd {self.folder} && git init && dvc init && git add -A && git commit -m start",
            )
        return Path(done.stdout.rstrip("\n"))

    def common(self) -> Path:
        """The folder that all worktrees share: ``.git`` of an ordinary clone."""
        return Path(self.run("rev-parse", "--path-format=absolute", "--git-common-dir"))

    def resolve(self, revision: str) -> str | None:
        """The full id of a commit, or None if there is none."""
        return self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")

    def entry(self, revision: str, path: str) -> str | None:
        """The id of a path's content in a commit (of its tree for an empty path), or None."""
        return self.ask("rev-parse", "--verify", "--quiet", f"{revision}:{path}")

    def tree(self, revision: str) -> str:
        """The id of a commit's tree."""
        return self.run("rev-parse", f"{revision}^{{tree}}")

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether one commit is another's ancestor, or the same."""
        return self.ask("merge-base", "--is-ancestor", ancestor, commit) is not None

    def store(self, file: Path) -> str:
        """Store a file's bytes, unfiltered; returns the id."""
        return self.run("hash-object", "-w", "--no-filters", "--", str(file))

    def overlay(self, tree: str, entries: Mapping[str, str | None], index: Path) -> str:
        """A tree with some paths put in (content id) or taken out (None); no working tree takes part.

        Args:
            tree: The tree or commit to start from.
            entries: Path from the repository's root -> id of its content.
            index: A scratch file; left-overs of it are removed first.
        """
        for leftover in (index, index.with_name(f"{index.name}.lock")):
            leftover.unlink(missing_ok=True)
        self.run("read-tree", tree, index=index)
        nothing = "0" * 40
        lines = (f"{'100644' if e else '0'} {e or nothing}\t{path}\0" for path, e in entries.items())
        self.run("update-index", "-z", "--index-info", stdin="".join(lines), index=index)
        made = self.run("write-tree", index=index)
        index.unlink()
        return made

    def commit(self, tree: str, parents: Sequence[str], message: str) -> str:
        """Make a commit that no branch names yet."""
        flags = [word for parent in parents for word in ("-p", parent)]
        return self.run("commit-tree", tree, *flags, "-F", "-", stdin=message)

    def move(self, ref: str, commit: str, expected: str | None) -> None:
        """Let a ref name a commit, if it still names what was expected (None: nothing).

        Raises:
            BusyError: Another process moved it.
        """
        try:
            self.run("update-ref", "-m", "lifecycle", ref, commit, expected or "0" * len(commit))
        except StorageError as error:
            found = self.resolve(ref)
            if found == expected:
                raise
            raise BusyError(
                f"{ref} was moved by another process, to {(found or 'nothing')[:12]}",
                hint="run the same command again; it starts from there",
            ) from error

    def last_change(self, tip: str, paths: Sequence[str]) -> str:
        """The newest commit on a branch's own line that changed one of the paths (the tip if none did)."""
        tops = [f":(top,literal){path}" for path in paths]
        return self.run("log", "-1", "--first-parent", "--format=%H", tip, "--", *tops) or tip

    def dirty(self, ignored: Sequence[str]) -> list[str]:
        """Files below the folder that differ from the last commit, untracked ones too.

        Args:
            ignored: Glob patterns, from the folder, that do not count.
        """
        patterns = [f":(exclude,glob){pattern}" for pattern in ignored]
        status = self.run("status", "--porcelain=v1", "-z", "--no-renames", "--", ".", *patterns)
        return [entry[3:] for entry in status.split("\0") if entry]

    def branches_elsewhere(self) -> set[str]:
        """The branches that are checked out in some worktree, as full refs."""
        lines = self.run("worktree", "list", "--porcelain").splitlines()
        return {line.removeprefix("branch ") for line in lines if line.startswith("branch ")}
