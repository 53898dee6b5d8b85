"""The one door to DVC, seen from a flow: a child process that does DVC's work, one request after another.

DVC as a library changes the working directory, the log handlers and the output of its process, and lets
stages write to its standard output. In a process of its own that harms nobody; one process for all requests
of a flow saves importing DVC for each (1 to 2 s), and it imports while the flow is still ingesting.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lifecycle.core import errors
from lifecycle.core.errors import LifecycleError, StageError, TerminalError
from lifecycle.core.settings import Settings, quiet_environment
from lifecycle.data.git import without_git
from lifecycle.data.storage import storing

_LOG_LIMIT = 5_000_000
_TAIL_LINES = 15
_CLOSE_S = 10.0
_BY_EXIT_CODE: dict[int, type[LifecycleError]] = {
    2: errors.ConfigError,
    3: errors.SourceError,
    4: errors.StageError,
    5: errors.IntegrityError,
    6: errors.StateError,
    7: errors.StorageError,
    8: errors.KeyMissingError,
    75: errors.UnavailableError,
    77: errors.AccessDeniedError,
}


@dataclass(frozen=True)
class DvcPlace:
    """What DVC works on.

    Attributes:
        root: The DVC project: a worktree, a clean clone, or the user's checkout.
        project: The user's checkout, whose cache and local configuration are shared.
        remote: URL of the remote.
        own: Whether the root is the user's own checkout, where DVC also keeps ``.gitignore`` in order.
    """

    root: str
    project: str
    remote: str
    own: bool = False


class Dvc:
    """DVC in one project folder; a context manager that ends its process.

    Args:
        settings: Where things are.
        root: The project folder.
        log: File that takes the output of DVC and of the stages.
        own: Whether the folder is the user's own checkout.
        inherit: Descriptors the process keeps open: the system's lock.
    """

    def __init__(
        self, settings: Settings, root: Path, log: Path, *, own: bool = False, inherit: Sequence[int] = ()
    ) -> None:
        self.root = root
        self.log = log
        self._used = False
        self._idle = True
        remote = settings.remote if "://" in settings.remote else str(settings.project / settings.remote)
        place = DvcPlace(str(root), str(settings.project), remote, own)
        with storing(str(log)):
            log.parent.mkdir(parents=True, exist_ok=True)
            fresh = not log.exists() or log.stat().st_size > _LOG_LIMIT
            with log.open("wb" if fresh else "ab") as stream:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "lifecycle.data.dvc_process", json.dumps(asdict(place))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    cwd=root,
                    env=_environment(settings, root),
                    pass_fds=tuple(inherit),
                    start_new_session=True,  # one group, so that its stages end with it
                )

    def __enter__(self) -> Dvc:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, target: str) -> str:
        """Put a folder into the cache and write its pointer; returns DVC's hash of the folder."""
        return str(self._ask("add", target=target))

    def push(self, targets: Sequence[str]) -> int:
        """Send what the remote does not have; returns how many objects were sent."""
        return int(self._ask("push", targets=list(targets)))

    def pull(self, targets: Sequence[str], *, force: bool = True) -> None:
        """Make files be as pointers and lock say, from cache or remote.

        Args:
            targets: Pointers or stages.
            force: Whether changes that are in no cache may be overwritten.
        """
        self._ask("pull", targets=list(targets), force=force)

    def restore(self, targets: Sequence[str]) -> None:
        """The same as far as it can be had; what cannot, the stages make again."""
        self._ask("restore", targets=list(targets))

    def remote(self) -> dict[str, Any]:
        """How DVC reaches its remote: ``url``, ``path``, ``config`` of its filesystem, with its secrets."""
        return dict(self._ask("remote"))

    def reproduce(self, stage: str, *, force: bool = False) -> bool:
        """Run a stage if it is out of date (or in any case); returns whether it was.

        Raises:
            LifecycleError: The stage's own error, where it ended with one.
            StageError: It failed otherwise; the message carries its last lines.
        """
        before = self.log.stat().st_size
        answer = self._ask("reproduce", stage=stage, force=force)
        if isinstance(answer, dict):
            raise _stage_error(stage, str(answer["status"]), self._output_since(before), self.log)
        return bool(answer)

    def close(self) -> None:
        """End the process; in the middle of a request, its stages too."""
        if self._process.poll() is None:
            # Without a farewell, the process ends at once and takes what it runs with it.
            farewell = b'{"do": "close"}\n' if self._used and self._idle else b""
            with suppress(BrokenPipeError):
                _of(self._process.stdin).write(farewell)
                _of(self._process.stdin).close()
            try:
                self._process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        with suppress(BrokenPipeError):
            _of(self._process.stdin).close()
        _of(self._process.stdout).close()

    def _ask(self, operation: str, **arguments: Any) -> Any:
        request = json.dumps({"do": operation, **arguments}).encode() + b"\n"
        self._used, self._idle = True, False
        with suppress(BrokenPipeError):
            _of(self._process.stdin).write(request)
            _of(self._process.stdin).flush()
        line = _of(self._process.stdout).readline()
        self._idle = True
        if not line:
            code = self._process.wait()
            raise TerminalError(
                f"DVC's process ended during {operation!r} (exit code {code})",
                hint=f"its output is in {self.log}; then run the same command again",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"], hint=answer["hint"])
        return answer["result"]

    def _output_since(self, position: int) -> str:
        """What the stage printed: DVC announces each command in the log as ``> command``."""
        with self.log.open("rb") as stream:
            stream.seek(position)
            text = stream.read().decode("utf-8", "replace")
        _, announced, output = text.rpartition("\n> ")
        return output.partition("\n")[2].strip("\n") if announced else text.strip("\n")


def _of(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "opened as a pipe"
    return stream


def _environment(settings: Settings, root: Path) -> dict[str, str]:
    programs = Path(sys.executable).parent
    return {
        **without_git(quiet_environment(settings)),
        "LIFECYCLE_PROJECT": str(root),
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SHELL": "/bin/sh",  # stages run in the user's shell otherwise, with its start-up files
    }


def _stage_error(stage: str, status: str, output: str, log: Path) -> LifecycleError:
    """The stage's own error if it printed one, as the command line does; otherwise its last lines."""
    told = re.search(r"^error: (.*?)(?:\n  → (.*))?\Z", output, re.DOTALL | re.MULTILINE)
    if told and status.isdigit() and int(status) in _BY_EXIT_CODE:
        return _BY_EXIT_CODE[int(status)](told[1].strip(), hint=(told[2] or "").strip())
    tail = "\n".join(output.splitlines()[-_TAIL_LINES:])
    how = f"exit code {status}" if status.isdigit() else status
    return StageError(
        f"stage {stage} failed ({how}):\n{tail}".rstrip(":\n"),
        hint=f"all of its output is in {log}; mend the cause, commit it, and run the same command again",
    )
