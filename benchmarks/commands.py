"""Running the commands that are measured, in the environment of an ordinary installation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (sys.executable, "-P")
_OWN = ("LIFECYCLE_", "PREFECT_", "PYTHON")
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        seconds: From its start to its end.
        peak_mb: The most that it and its descendants were seen to hold together, resident, MB.
    """

    seconds: float
    stdout: str
    stderr: str
    peak_mb: float = 0.0


def environment(project: Path | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This shell's, without what would change a measurement: bytecode is written, one thread computes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    kept["OMP_NUM_THREADS"] = "1"
    kept["LIFECYCLE_WIPE_MEMORY"] = "false"  # house prices are about nobody
    return kept | ({"LIFECYCLE_PROJECT": str(project)} if project else {}) | dict(extra or {})


def run(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    *,
    accept: Sequence[int] = (0,),
    watch: bool = False,
) -> Ended:
    """Run a command to its end.

    Args:
        command: Its words.
        cwd: Where.
        env: Its whole environment.
        accept: The exit codes that are no failure.
        watch: Whether to look at its memory, 20 times a second.

    Raises:
        SystemExit: It failed.
    """
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            watcher = _Watcher(process.pid) if watch else None
            stdout, stderr = process.communicate()
        except BaseException:
            process.kill()
            raise
    seconds = time.perf_counter() - start
    peak = watcher.close() if watcher else 0.0
    if process.returncode not in accept:
        raise SystemExit(f"`{' '.join(command)}` ended with exit code {process.returncode}:\n{stderr}")
    return Ended(seconds, stdout, stderr, peak)


def seconds_of(
    command: Sequence[str], repeats: int, warm_ups: int, project: Path | None = None
) -> list[float]:
    """Seconds of each run of a command, after some that are not counted."""
    cwd, env = project or ROOT, environment(project)
    return [run(command, cwd, env).seconds for _ in range(warm_ups + repeats)][warm_ups:]


class _Watcher:
    """The most memory that a process and its descendants hold at once."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._peak = 0.0
        self._ended = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> float:
        """Stop looking; the peak in MB."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, resident_mb(self._process))


def resident_mb(process: psutil.Process) -> float:
    """Resident memory of a process and its descendants, MB; 0 once it has ended."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        return 0.0
    return total / 1e6
