"""Aliases that are as they should be are seen without MLflow; whatever else there is, MLflow is asked."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from lifecycle.core.settings import Settings
from lifecycle.registry.connection import open_client, speaking
from lifecycle.registry.glance import aliases_seen
from tests.registry.conftest import SYSTEM

LOOKING = """
import sys
from lifecycle.core.settings import Settings
from lifecycle.registry.mlflow_registry import MlflowRegistry
registry = MlflowRegistry(Settings())
for champion in ("1", "7"):
    try:
        print(registry.mirror("flat-rents", champion, None), "mlflow" in sys.modules)
    except Exception as error:
        print(error.message, "mlflow" in sys.modules)
"""


def database(settings: Settings, statement: str) -> None:
    """Change MLflow's file behind its back."""
    path = Path(settings.tracking.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_mlflow_is_loaded_only_where_an_alias_is_wrong(published, monkeypatch):
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(published.settings.project))
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOKING], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert done[0] == "() False"
    assert done[1].endswith("True"), "there is no version 7, and MLflow says so"


def test_what_is_seen_is_what_mlflow_says(published):
    with speaking(published.settings):
        asked = open_client(published.settings).get_registered_model(SYSTEM).aliases
    assert aliases_seen(published.settings, SYSTEM) == {alias: str(it) for alias, it in asked.items()}
    assert aliases_seen(published.settings, "card-fraud") == {}


def test_what_cannot_be_told_is_left_to_mlflow(registry, candidate, settings):
    registry.register(candidate.run, candidate.release, candidate.evaluation)
    assert aliases_seen(settings, SYSTEM) == {"candidate": "1"}
    database(settings, f"INSERT INTO registered_model_aliases VALUES ('candidate', 2, '{SYSTEM}', 'another')")
    assert aliases_seen(settings, SYSTEM) is None, "two workspaces have a model of this name"
    database(settings, "DROP TABLE registered_model_aliases")
    assert aliases_seen(settings, SYSTEM) is None
    Path(settings.tracking.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 300)
    assert aliases_seen(settings, SYSTEM) is None


def test_a_server_or_a_file_that_is_not_there_is_left_to_mlflow(tmp_path):
    assert aliases_seen(Settings(project=tmp_path), SYSTEM) is None
    assert not (tmp_path / ".lifecycle").exists()
    server = Settings(project=tmp_path, mlflow_uri="http://127.0.0.1:9")
    assert aliases_seen(server, SYSTEM) is None
