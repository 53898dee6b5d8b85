"""Waiting until services answer, and giving up on those that never will."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from lifecycle.core.errors import UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.supervise.daemon import process_table
from lifecycle.supervise.processes import listens
from lifecycle.supervise.services import Service
from lifecycle.supervise.state import Stack, log_path, starts, write_stack

LOOK_SECONDS = 0.1
HOPELESS_STARTS = 3
LOG_LINES = 15


def wait_until_ready(
    settings: Settings, stack: Stack, begin: float, timeout: float, echo: Callable[[str], None]
) -> None:
    """Return when every service has answered; each is written down as it does.

    Args:
        settings: Where state lies.
        stack: What was started.
        begin: When, by the monotonic clock, seconds.
        timeout: After which the wait ends, seconds from ``begin``.
        echo: Told of each service that is ready, with its time.

    Raises:
        UnavailableError: One keeps dying, or is late; the message ends with its last words.
    """
    waiting = {service.name: service for service in stack.services}
    pids: dict[str, int] = {}
    with looking_client() as client:
        while waiting:
            processes = process_table(stack)
            for name in list(waiting):
                pid = processes[name]["pid"]
                # Another program may have taken the port since it was chosen.
                if answers(client, stack, waiting[name]) and listens(pid, waiting[name].port):
                    service = waiting.pop(name)
                    pids[name] = pid
                    write_stack(settings, stack.model_copy(update={"pids": pids}))
                    echo(f"  ✓ {name:<10} {time.monotonic() - begin:5.1f} s  {stack.address(service)}")
            _refuse_hopeless(settings, processes, waiting)
            if waiting and time.monotonic() - begin > timeout:
                raise _given_up(settings, next(iter(waiting)), f"is not ready after {timeout:.0f} s")
            time.sleep(LOOK_SECONDS)


def looking_client() -> httpx.Client:
    """A client for the stack's own services, whose certificates are made out to their public names."""
    return httpx.Client(timeout=2, trust_env=False, verify=False)


def answers(client: httpx.Client, stack: Stack, service: Service) -> bool:
    """Whether a service answers 2xx where it says that it is of use."""
    try:
        return client.get(stack.address(service) + service.ready).is_success
    except httpx.HTTPError:
        return False


def _refuse_hopeless(
    settings: Settings, processes: dict[str, dict[str, Any]], waiting: Iterable[str]
) -> None:
    for name in waiting:
        if processes[name]["statename"] == "FATAL" or starts(settings, name) >= HOPELESS_STARTS:
            raise _given_up(settings, name, "keeps dying")


def _given_up(settings: Settings, name: str, what: str) -> UnavailableError:
    log = log_path(settings, name)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = "\n".join(f"    {line}" for line in lines[-LOG_LINES:]) or "    (it said nothing)"
    return UnavailableError(f"{name} {what}; its last words:\n{said}", hint=f"the whole log: {log}")
