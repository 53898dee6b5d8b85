"""What is written down about a running stack: where it listens and who keeps it up."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from lifecycle.core.settings import Settings
from lifecycle.core.values import Value
from lifecycle.supervise.processes import is_alive
from lifecycle.supervise.services import Service


class Stack(Value):
    """A stack that was started; kept in ``<state>/run/services.json``.

    Attributes:
        host: Address that all services listen on.
        socket: Unix socket of supervisord.
        services: With every placeholder filled.
        pid: Process id of supervisord; 0 until it answers.
        created: When that process was created, seconds since 1970: a reused pid is told apart by it.
        pids: Process id of each service that has become ready, as it was then.
    """

    host: str
    socket: str
    services: tuple[Service, ...]
    pid: int = 0
    created: float = 0.0
    pids: dict[str, int] = Field({})

    def address(self, service: Service) -> str:
        """Where a service listens, without a trailing slash."""
        return f"{service.scheme}://{self.host}:{service.port}"

    @property
    def alive(self) -> bool:
        """Whether supervisord still runs: this very process, not a later one of the same number."""
        return is_alive(self.pid, self.created)


def run_folder(settings: Settings) -> Path:
    """Where everything lies that exists only while the stack is up."""
    return settings.state / "run"


def read_stack(settings: Settings) -> Stack | None:
    """The stack that was started last and not taken down, alive or not; None if there is none."""
    try:
        return Stack.model_validate_json((run_folder(settings) / "services.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # a half-written or foreign file names nobody: the sweep finds what still runs


def write_stack(settings: Settings, stack: Stack) -> None:
    """Write it down, whole or not at all; readable by its owner only."""
    path = run_folder(settings) / "services.json"
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(stack.model_dump_json(indent=1), encoding="utf-8")
    draft.replace(path)


def addresses(settings: Settings) -> dict[str, str]:
    """Where the servers of this project listen, as far as they are up.

    Returns:
        Service name (``prefect``, ``mlflow``, ``serving``) to address, such as ``http://127.0.0.1:4200``.
        Prefect's API is ``/api`` below its address.

    Example:
        >>> addresses(Settings(project=Path("/nowhere")))
        {}
    """
    stack = read_stack(settings)
    if stack is None or not stack.alive:
        return {}
    return {it.name: stack.address(it) for it in stack.services if it.page and it.name in stack.pids}


def starts(settings: Settings, name: str) -> int:
    """How often a service was started since ``up``."""
    try:
        return len((run_folder(settings) / f"{name}.starts").read_bytes().splitlines())
    except FileNotFoundError:
        return 0


def log_path(settings: Settings, name: str) -> Path:
    """The log of a service."""
    return settings.state / "logs" / f"{name}.log"
