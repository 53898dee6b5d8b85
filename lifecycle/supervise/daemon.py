"""supervisord: its configuration, its start and its socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import ServerProxy

from lifecycle.core.errors import UnavailableError
from lifecycle.core.settings import Settings, quiet_environment
from lifecycle.supervise.processes import MARK
from lifecycle.supervise.services import Service
from lifecycle.supervise.state import Stack, run_folder

LONGEST_SOCKET = 90
"""Bytes; the kernel takes 108 (macOS 104), and supervisord appends its pid while it binds."""

# Paths are relative to the run folder, or come in as environment variables: they may contain anything, and
# would have to be quoted here.
_HEAD = """\
[supervisord]
logfile = ../logs/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = supervisord.pid
nocleanup = true
strip_ansi = true

[unix_http_server]
file = %(ENV_LIFECYCLE_SOCKET)s
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
# One that lives for 5 s counts as started; one that dies sooner is tried again after 1, 2, 3, ... s.
_PROGRAM = """
[program:{name}]
command = "%(ENV_LIFECYCLE_PYTHON)s" -P -m lifecycle.supervise.launch {name}
directory = %(ENV_LIFECYCLE_PROJECT)s
priority = {priority}
autorestart = true
startsecs = 5
startretries = 10
stopwaitsecs = {grace}
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = ../logs/{name}.log
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 2
"""


def configuration(services: Sequence[Service]) -> str:
    """The text of supervisord's configuration; services stop in the reverse of this order.

    Example:
        >>> "[program:web]" in configuration([Service(name="web", command=("web",))])
        True
    """
    programs = [
        _PROGRAM.format(name=service.name, priority=place, grace=service.grace)
        for place, service in enumerate(services, start=1)
    ]
    return _HEAD + "".join(programs)


def socket_path(settings: Settings) -> Path:
    """Where supervisord's socket goes: the run folder, or a private temporary one where that is too deep."""
    usual = run_folder(settings) / "supervisord.sock"
    if len(os.fsencode(usual)) <= LONGEST_SOCKET:
        return usual
    return Path(tempfile.mkdtemp(prefix="lifecycle-")) / "s"


def remove_socket(settings: Settings, stack: Stack) -> None:
    """Remove the socket and, if it was made for it, its temporary folder."""
    path = Path(stack.socket)
    path.unlink(missing_ok=True)
    if path.parent != run_folder(settings):
        shutil.rmtree(path.parent, ignore_errors=True)


def start_supervisord(settings: Settings, stack: Stack) -> None:
    """Start supervisord in the background; it starts every service.

    Raises:
        UnavailableError: It refused to start; the message holds what it said.
    """
    config = run_folder(settings) / "supervisord.conf"
    config.write_text(configuration(stack.services), encoding="utf-8")
    env = quiet_environment(settings) | {
        "LIFECYCLE_SOCKET": stack.socket,
        "LIFECYCLE_PYTHON": sys.executable,
        "PYTHONUNBUFFERED": "1",  # a log is read while it is written
        MARK: str(settings.state),
    }
    started = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", config.name],
        env=env,
        cwd=config.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if started.returncode:
        raise UnavailableError(
            f"supervisord did not start (exit code {started.returncode}): {started.stdout.strip()[-500:]}",
            hint="pip install --force-reinstall supervisor, or look into the folder of the project",
        )


@contextmanager
def control(stack: Stack) -> Iterator[Any]:
    """The ``supervisor`` interface of a running supervisord.

    Raises:
        UnavailableError: It does not answer.
    """
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{stack.socket}")
    try:
        with ServerProxy("http://localhost", transport=transport) as server:
            yield server.supervisor
    except (OSError, XmlRpcError) as error:
        raise UnavailableError(
            f"supervisord does not answer on its socket: {error}",
            hint="lifecycle down ends everything without its help",
        ) from error


def process_table(stack: Stack) -> dict[str, dict[str, Any]]:
    """What supervisord knows of each service: ``statename``, ``pid``, ``start`` and ``now`` among others.

    Raises:
        UnavailableError: It does not answer.
    """
    with control(stack) as supervisor:
        return {process["name"]: process for process in supervisor.getAllProcessInfo()}
