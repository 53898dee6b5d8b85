"""How a stack is doing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

import httpx

from lifecycle.core.errors import UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.core.values import Value
from lifecycle.supervise.daemon import process_table
from lifecycle.supervise.processes import memory_mb
from lifecycle.supervise.readiness import answers, looking_client
from lifecycle.supervise.services import Service
from lifecycle.supervise.state import Stack, read_stack, starts

State = Literal["ready", "starting", "restarting", "failed", "down"]
_STATES: dict[str, State] = {
    "STARTING": "starting",
    "RUNNING": "starting",
    "BACKOFF": "restarting",
    "EXITED": "restarting",
    "STOPPING": "down",
    "STOPPED": "down",
    "FATAL": "failed",
}


class ServiceStatus(Value):
    """One service.

    Attributes:
        state: ``ready``: it answers. ``starting``: it runs and does not answer yet, or no longer.
            ``restarting``: it died and will be started again. ``failed``: it died too often.
        address: Where it listens.
        pid: Its process, None if there is none.
        uptime_s: Since its last start, seconds.
        restarts: Since ``up``.
        memory_mb: Resident memory with all below it, MB.
    """

    name: str
    state: State
    address: str
    pid: int | None = None
    uptime_s: float | None = None
    restarts: int = 0
    memory_mb: float | None = None


class Status(Value):
    """All services of a stack; none if it is down."""

    services: tuple[ServiceStatus, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the stack is up and every service answers."""
        return bool(self.services) and all(service.state == "ready" for service in self.services)


def status(settings: Settings) -> Status:
    """How the stack of a project is doing, asked of supervisord and of each service itself."""
    stack = read_stack(settings)
    if stack is None:
        return Status()
    processes: dict[str, dict[str, Any]] = {}
    with suppress(UnavailableError):
        processes = process_table(stack) if stack.alive else {}
    with looking_client() as client:
        return Status(
            services=tuple(
                _service_status(settings, stack, service, processes.get(service.name, {}), client)
                for service in stack.services
            )
        )


def _service_status(
    settings: Settings, stack: Stack, service: Service, process: dict[str, Any], client: httpx.Client
) -> ServiceStatus:
    pid = int(process.get("pid", 0))
    state = _STATES.get(process.get("statename", ""), "down")
    if state == "starting" and answers(client, stack, service):
        state = "ready"
    return ServiceStatus(
        name=service.name,
        state=state,
        address=stack.address(service),
        pid=pid or None,
        uptime_s=float(process["now"] - process["start"]) if pid else None,
        restarts=max(starts(settings, service.name) - 1, 0),
        memory_mb=round(memory_mb(pid), 1) if pid else None,
    )


def as_text(stack: Status) -> str:
    """The status as a table for people.

    Example:
        >>> print(as_text(Status(services=(
        ...     ServiceStatus(name="web", state="ready", address="http://127.0.0.1:8000", pid=7, uptime_s=61,
        ...                   restarts=1, memory_mb=20.04),))))
        service    state           pid    uptime  restarts  memory  address
        web        ready             7   0:01:01         1   20 MB  http://127.0.0.1:8000
        >>> as_text(Status())
        'nothing is up'
    """
    if not stack.services:
        return "nothing is up"
    lines = ["service    state           pid    uptime  restarts  memory  address"]
    for it in stack.services:
        memory = f"{it.memory_mb:.0f} MB" if it.memory_mb is not None else "-"
        lines.append(
            f"{it.name:<10} {it.state:<11} {it.pid or '-':>7}  {_uptime(it.uptime_s):>8}  {it.restarts:>8}"
            f"  {memory:>6}  {it.address}"
        )
    return "\n".join(lines)


def _uptime(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
