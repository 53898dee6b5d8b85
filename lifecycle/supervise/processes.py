"""Processes: who is alive, who belongs to a stack, and how to end them all."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

MARK = "LIFECYCLE_SUPERVISED"
"""Environment variable that every process of a stack carries; its value is the state folder."""

LOOK_SECONDS = 0.02
"""Between two looks at processes that are to end."""


def is_alive(pid: int, created: float) -> bool:
    """Whether a process still runs, and is not a later one of the same number.

    Args:
        pid: Its number.
        created: When it was created, seconds since 1970.

    Example:
        >>> is_alive(os.getpid(), psutil.Process().create_time()), is_alive(os.getpid(), 0.0)
        (True, False)
    """
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def created_at(pid: int) -> float:
    """When a process was created, seconds since 1970; 0 if it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty if it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def memory_mb(pid: int) -> float:
    """Resident memory of a process and all below it, MB."""
    total = 0
    for process in tree(pid):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20


def listens(pid: int, port: int) -> bool:
    """Whether a process, or one below it, listens on a TCP port."""
    for process in tree(pid):
        try:
            sockets = process.net_connections("tcp")
        except psutil.Error:
            continue
        if any(it.status == psutil.CONN_LISTEN and it.laddr.port == port for it in sockets):
            return True
    return False


def marked(state: Path) -> list[psutil.Process]:
    """Every process of the stack of a state folder, however it was started and whoever its parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get(MARK) == str(state) and process.pid != os.getpid()
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
    return found


def sweep(state: Path, keeper: int, grace: float) -> int:
    """End every process of a stack: its keeper at once, the others politely, what is left by force.

    Args:
        state: The state folder they carry as their mark.
        keeper: Process id of supervisord, which would start the others again.
        grace: From the polite signal to the kill, seconds.

    Returns:
        How many were found.
    """
    ended: set[int] = set()
    while found := marked(state):
        ended |= {process.pid for process in found}
        for process in found:
            if process.pid == keeper:
                _signal(process, force=True)
        _end([process for process in found if process.pid != keeper], grace)
    return len(ended)


def _end(processes: Sequence[psutil.Process], grace: float) -> None:
    for process in processes:
        _signal(process, force=False)
    stubborn = _running_after(processes, grace)
    for process in stubborn:
        _signal(process, force=True)
    _running_after(stubborn, grace)


def _running_after(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end; which of them still run after so many seconds.

    Orphans that have ended stay in the table until process 1 collects them, which in a container may take a
    second or for ever: they are not waited for.
    """
    deadline = time.monotonic() + seconds
    while running := [process for process in processes if _runs(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(LOOK_SECONDS)
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        process.kill() if force else process.terminate()
    except psutil.NoSuchProcess:
        return
