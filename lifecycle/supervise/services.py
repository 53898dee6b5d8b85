"""Which servers there are: each a value, so that tests and other stacks bring their own."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field

from lifecycle.core.settings import Settings
from lifecycle.core.values import Value
from lifecycle.core.wiping import wiping

_SERVING_GRACE = 15
"""Requests in flight have ten seconds to end, and the processes some to go; seconds."""


class Service(Value):
    """One long-running server.

    In ``command`` and ``env`` two placeholders are filled when the ports are known: ``{port}``, its own, and
    ``{name}``, the address of the service of that name.

    Example:
        >>> web = Service(name="web", command=("python", "-m", "http.server", "{port}"), port=8000, ready="/")
        >>> web.filled(8123, {"web": "http://127.0.0.1:8123"}).command[-1]
        '8123'
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    command: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str] = Field({}, description="Beside the environment that all services share")
    scheme: Literal["http", "https"] = Field("http", description="What it speaks")
    port: int = Field(0, ge=0, description="The usual port; another is taken if it is busy. 0: any")
    ready: str = Field("/", description="Path that answers 2xx as soon as the service is of use")
    page: bool = Field(True, description="Whether people and programs go there: listed among the addresses")
    folders: tuple[Path, ...] = Field((), description="Made before it starts")
    grace: int = Field(5, gt=0, description="From the polite signal to the kill, seconds")

    def filled(self, port: int, addresses: dict[str, str]) -> Service:
        """The same service with every placeholder filled."""
        known = {"{port}": str(port)} | {f"{{{name}}}": address for name, address in addresses.items()}
        return self.model_copy(
            update={
                "port": port,
                "command": tuple(_fill(part, known) for part in self.command),
                "env": {key: _fill(value, known) for key, value in self.env.items()},
            }
        )


def _fill(text: str, known: dict[str, str]) -> str:
    for placeholder, value in known.items():
        text = text.replace(placeholder, value)
    return text


def default_services(settings: Settings) -> tuple[Service, ...]:
    """The servers of a project: Prefect server and worker, MLflow server, prediction service.

    They start at the same time, and stop one after the other, the last one first. The MLflow server is left
    out where tracking already goes to a server elsewhere.
    """
    if settings.tracking.startswith(("http://", "https://")):
        return (_prefect(settings), _worker(), _serving(settings))
    serving = _serving(settings)
    serving = serving.model_copy(update={"env": {**serving.env, "LIFECYCLE_MLFLOW_PAGES": "{mlflow}"}})
    return (_prefect(settings), _mlflow(settings), _worker(), serving)


def _prefect(settings: Settings) -> Service:
    return Service(
        name="prefect",
        command=_python("prefect", "server", "start", "--host", settings.host, "--port", "{port}"),
        env={
            "PREFECT_API_URL": "{prefect}/api",
            # SQLite has one writer: flows, worker and services of the server wait for each other.
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
        },
        port=settings.prefect_port,
        ready="/api/health",
        folders=(settings.state / "prefect",),
    )


def _worker() -> Service:
    """The worker: ``flows.worker`` waits for the server, registers every deployment, then polls.

    It answers ``/health`` on its own port only once it polls, so that ready means registered, too.
    """
    return Service(
        name="worker",
        command=_python("flows.worker"),
        env={
            "PREFECT_API_URL": "{prefect}/api",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": "{port}",
        },
        ready="/health",
        page=False,
    )


def _mlflow(settings: Settings) -> Service:
    """The MLflow server: clients write artefacts to their place themselves, so nothing is stored twice."""
    listen = ("--host", settings.host, "--port", "{port}", "--workers", "1")
    return Service(
        name="mlflow",
        command=_python("mlflow", "server", *listen, "--no-serve-artifacts"),
        env={  # not on the command line, which every user of the machine can read
            "MLFLOW_BACKEND_STORE_URI": settings.tracking,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifacts,
        },
        port=settings.mlflow_port,
        ready="/health",
        folders=(settings.state / "mlflow",),
    )


def _serving(settings: Settings) -> Service:
    return Service(
        name="serving",
        command=_python("lifecycle", "serve", "--port", "{port}"),
        env=wiping() if settings.wipes else {},  # else it would have to start twice
        scheme="https" if settings.tls_certificate else "http",
        port=settings.serving_port,
        ready="/healthz",
        grace=_SERVING_GRACE + math.ceil(settings.drain_seconds),
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    """A module run by this interpreter; ``-P`` keeps the project's folder from shadowing installed ones."""
    return (sys.executable, "-P", "-m", module, *arguments)
