"""The same registry behind a real ``mlflow server``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from lifecycle.core.settings import Settings, quiet_environment
from lifecycle.registry.mlflow_registry import MlflowRegistry
from tests.registry.conftest import SYSTEM, copy_database


@pytest.fixture
def served(settings, mlflow_template) -> Iterator[Settings]:
    """Settings that name a server instead of its database; the artifact folder is the same."""
    copy_database(mlflow_template, settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", settings.tracking]
    command += ["--default-artifact-root", settings.artifacts]
    server = subprocess.Popen(
        command,
        env=quiet_environment(settings),
        cwd=settings.project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        lines = []
        while "Application startup complete" not in "".join(lines[-1:]):
            line = server.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
        yield settings.model_copy(update={"mlflow_uri": f"http://127.0.0.1:{port}"})
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stderr.close()


@pytest.mark.slow
def test_a_server_keeps_versions_and_aliases_as_the_database_does(served, settings, make_candidate):
    registry = MlflowRegistry(served)
    first, second = make_candidate(500), make_candidate(600)

    versions = [registry.register(it.run, it.release, it.evaluation) for it in (first, second)]

    assert [it.version for it in versions] == ["1", "2"]
    assert registry.register(first.run, first.release, first.evaluation) == versions[0]
    assert registry.mirror(SYSTEM, "2", "1") == ("champion", "previous")
    # A flow that talks to the database itself sees the same, and servers need neither.
    assert MlflowRegistry(settings).mirror(SYSTEM, "2", "1") == ()
    assert urlsplit(versions[1].release.uri).scheme == "file"
