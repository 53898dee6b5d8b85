"""Bringing a stack up: ports, supervisord, and waiting until every service answers."""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lifecycle.core.errors import BusyError, UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.supervise.daemon import control, process_table, socket_path, start_supervisord
from lifecycle.supervise.down import down
from lifecycle.supervise.processes import created_at
from lifecycle.supervise.readiness import LOOK_SECONDS, wait_until_ready
from lifecycle.supervise.services import Service
from lifecycle.supervise.signals import interruptible
from lifecycle.supervise.state import Stack, addresses, log_path, read_stack, run_folder, starts, write_stack

Echo = Callable[[str], None]


def up(
    settings: Settings,
    services: Sequence[Service],
    *,
    detach: bool,
    echo: Echo,
    timeout: float = 240,
) -> dict[str, str]:
    """Start all services at once and wait until every one answers.

    If the stack is up, nothing is started except what supervisord had given up.

    Args:
        settings: Where state lies, and the address to listen on.
        services: What to start; each stops before those that stand before it.
        detach: Return when all are ready. Otherwise stay until Ctrl-C, then take everything down.
        echo: Takes a line of progress.
        timeout: Until all must be ready, seconds.

    Returns:
        Service name to address, as ``addresses``.

    Raises:
        UnavailableError: A service keeps dying or is not ready in time; everything was taken down.
        BusyError: Another ``up`` of this project is starting.
    """
    with interruptible(), _locked(settings):
        stack = read_stack(settings)
        if stack and stack.alive:
            _revive(settings, stack, echo, timeout)
            echo("already up:")
            return _told(settings, echo)
        if down(settings):
            echo("ended what a crash had left running")
        try:
            _start(settings, services, echo, timeout)
        except BaseException:  # Ctrl-C too: half a stack is worse than none
            down(settings)
            raise
        listening = _told(settings, echo)
    if not detach:
        _stay(settings, echo)
    return listening


def _told(settings: Settings, echo: Echo) -> dict[str, str]:
    listening = addresses(settings)
    for name, address in listening.items():
        echo(f"  {name:<10} {address}")
    return listening


def _start(settings: Settings, services: Sequence[Service], echo: Echo, timeout: float) -> None:
    begin = time.monotonic()
    run_folder(settings).mkdir(parents=True, exist_ok=True)
    for folder in (settings.state / "logs", *(it for service in services for it in service.folders)):
        folder.mkdir(parents=True, exist_ok=True)
    for log in (log_path(settings, service.name) for service in services):
        if log.exists():  # last words are those of this time
            log.replace(log.with_suffix(".previous.log"))
    stack = Stack(
        host=settings.host,
        socket=str(socket_path(settings)),
        services=_with_ports(settings.host, services, echo),
    )
    write_stack(settings, stack)
    echo(f"starting {', '.join(service.name for service in services)}")
    start_supervisord(settings, stack)
    stack = _introduced(stack, begin + timeout)
    write_stack(settings, stack)
    wait_until_ready(settings, stack, begin, timeout, echo)
    echo(f"all up after {time.monotonic() - begin:.1f} s")


def _with_ports(host: str, services: Sequence[Service], echo: Echo) -> tuple[Service, ...]:
    """The services with every placeholder filled: usual ports where they are free, others where not."""
    ports: dict[str, int] = {}
    for service in services:
        port = service.port if service.port and service.port not in ports.values() else 0
        ports[service.name] = _free(host, port) or _free(host, 0)
        if service.port and ports[service.name] != service.port:
            echo(f"port {service.port} is busy: {service.name} takes {ports[service.name]}")
    addresses = {it.name: f"{it.scheme}://{host}:{ports[it.name]}" for it in services}
    return tuple(service.filled(ports[service.name], addresses) for service in services)


def _free(host: str, port: int) -> int:
    """This port if nobody listens on it, or 0; for port 0, any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _introduced(stack: Stack, deadline: float) -> Stack:
    """The stack with supervisord's process id, as soon as it answers on its socket."""
    while True:
        try:
            with control(stack) as supervisor:
                pid = int(supervisor.getPID())
            return stack.model_copy(update={"pid": pid, "created": created_at(pid)})
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK_SECONDS)


def _revive(settings: Settings, stack: Stack, echo: Echo, timeout: float) -> None:
    """Start again what supervisord has given up, and wait for it."""
    dead = [name for name, it in process_table(stack).items() if it["statename"] in ("FATAL", "STOPPED")]
    if dead:
        echo(f"starting {', '.join(dead)} again")
        for name in dead:
            (run_folder(settings) / f"{name}.starts").unlink(missing_ok=True)
            with control(stack) as supervisor:
                supervisor.startProcess(name, False)
        wait_until_ready(settings, stack, time.monotonic(), timeout, echo)


def _stay(settings: Settings, echo: Echo) -> None:
    """Stay until Ctrl-C or a signal, telling of every restart; then take everything down."""
    echo("Ctrl-C takes everything down")
    told: dict[str, int] = {}
    with interruptible():
        try:
            while (stack := read_stack(settings)) and stack.alive:
                for service in stack.services:
                    count = starts(settings, service.name)
                    if count > told.setdefault(service.name, count):
                        echo(f"{service.name} died and was started again: {log_path(settings, service.name)}")
                    told[service.name] = count
                time.sleep(1)
            echo("taken down from elsewhere")
        except KeyboardInterrupt:
            echo("taking everything down")
        finally:
            down(settings)


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    settings.state.mkdir(parents=True, exist_ok=True)
    with (settings.state / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "another `lifecycle up` of this project is starting", hint="wait for it: lifecycle status"
            ) from None
        yield
