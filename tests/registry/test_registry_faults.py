"""Kills, full disks, servers that are away: what is registered is whole, or not there."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest

from lifecycle.core.errors import ConfigError, IntegrityError, StateError, StorageError, UnavailableError
from lifecycle.core.release import verify_release
from lifecycle.core.settings import Settings
from lifecycle.records.signing import Ed25519Signer
from lifecycle.registry.connection import open_client, speaking
from lifecycle.registry.mlflow_registry import MlflowRegistry
from tests.registry.conftest import SYSTEM, copy_database

_FORK = multiprocessing.get_context("fork")
_STEPS = [
    ("after", "create_experiment"),
    ("after", "create_run"),
    ("after", "log_inputs"),
    ("after", "log_artifact"),
    ("after", "create_logged_model"),
    ("after", "log_model_artifacts"),
    ("before", "finalize_logged_model"),
    ("after", "create_registered_model"),
    ("after", "create_model_version"),
    ("before", "set_terminated"),
]


def register(registry, candidate):
    return registry.register(candidate.run, candidate.release, candidate.evaluation)


def everything_is_there_once(settings, candidate, version) -> None:
    """One experiment, one finished run, one whole model, one version that carries the release."""
    with speaking(settings):
        client = open_client(settings)
        experiment = client.get_experiment_by_name(SYSTEM)
        found = client.search_runs([experiment.experiment_id])
        models = client.search_logged_models([experiment.experiment_id])
        versions = client.search_model_versions(f"name = '{SYSTEM}'")
        aliases = client.get_registered_model(SYSTEM).aliases
    assert [(run.info.run_id, run.info.status) for run in found] == [(version.run, "FINISHED")]
    assert [model.status for model in models] == ["READY"]
    assert [str(it.version) for it in versions] == [version.version] == ["1"]
    assert {name: str(number) for name, number in aliases.items()} == {"candidate": "1"}
    folder = Path(urlsplit(version.release.uri).path)
    verify_release(folder, candidate.release.digest, Ed25519Signer(settings.keys))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(("when", "step"), _STEPS, ids=[f"{when} {step}" for when, step in _STEPS])
def test_a_killed_registration_is_taken_over_by_the_next(registry, settings, candidate, when, step):
    process = _FORK.Process(target=_die, args=(settings, candidate, when, step))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    version = register(registry, candidate)

    everything_is_there_once(settings, candidate, version)


def _die(settings: Settings, candidate, when: str, step: str) -> None:
    original = getattr(mlflow.MlflowClient, step)

    def dying(*args: object, **named: object) -> None:
        if when == "after":
            original(*args, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(mlflow.MlflowClient, step, dying)
    register(MlflowRegistry(settings), candidate)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_an_upload_that_was_cut_off_is_done_again_over_itself(registry, settings, candidate):
    process = _FORK.Process(target=_die, args=(settings, candidate, "after", "log_model_artifacts"))
    process.start()
    process.join()
    uploaded = next(Path(urlsplit(settings.artifacts).path).rglob("model.onnx"))
    uploaded.write_bytes(uploaded.read_bytes()[:10])

    version = register(registry, candidate)

    everything_is_there_once(settings, candidate, version)


def test_a_full_disk_registers_nothing_and_the_next_attempt_ends_well(registry, settings, make_candidate):
    candidate = make_candidate(weight=8_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, hard))
    try:
        with pytest.raises(StorageError, match=r"the disk is full\n.*run the command again"):
            register(registry, candidate)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with speaking(settings):
        client = open_client(settings)
        assert client.search_model_versions(f"name = '{SYSTEM}'") == []
        experiment = client.get_experiment_by_name(SYSTEM)
        assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    everything_is_there_once(settings, candidate, register(registry, candidate))


def test_an_artifact_store_that_cannot_be_written_registers_nothing(registry, settings, candidate):
    store = Path(urlsplit(settings.artifacts).path)
    store.write_text("a file where the folder should be")

    with pytest.raises(StorageError, match="MLflow cannot store"):
        register(registry, candidate)

    store.unlink()
    everything_is_there_once(settings, candidate, register(registry, candidate))


def test_a_read_only_database_is_a_storage_error(settings, registry, candidate, monkeypatch):
    monkeypatch.chdir(settings.project)  # MLflow takes this address for a path, and makes a folder of it
    path = settings.tracking.removeprefix("sqlite:///")
    locked = settings.model_copy(update={"mlflow_uri": f"sqlite:///file:{path}?mode=ro&uri=true"})

    with pytest.raises(StorageError, match="it is read-only"):
        register(MlflowRegistry(locked), candidate)


@pytest.mark.parametrize("content", [None, b"no database, but long enough to be looked at " * 9])
def test_a_database_that_cannot_be_opened_is_told_at_once(settings, candidate, content):
    path = Path(settings.tracking.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(StorageError, match=r"the file cannot be opened|not a SQLite database"):
        register(MlflowRegistry(settings), candidate)


def test_a_server_that_is_away_is_unavailable_and_its_password_stays_secret(settings, candidate, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = settings.model_copy(update={"mlflow_uri": "http://ada:hunter2@127.0.0.1:1"})

    for action in (
        lambda registry: register(registry, candidate),
        lambda registry: registry.mirror(SYSTEM, "1", None),
    ):
        with pytest.raises(
            UnavailableError, match=r"MLflow does not answer at http://127.0.0.1:1"
        ) as refused:
            action(MlflowRegistry(away))
        assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_what_mlflow_refuses_is_told_in_its_words(registry, candidate):
    register(registry, candidate)

    with pytest.raises(StateError, match="MLflow refuses"):
        registry.mirror(SYSTEM, "9", None)


def test_artefacts_behind_mlflows_proxy_are_refused(settings, mlflow_template, candidate):
    copy_database(mlflow_template, settings)
    proxied = settings.model_copy(update={"mlflow_artifacts": "mlflow-artifacts:/"})

    with pytest.raises(ConfigError, match=r"without MLflow\n.*LIFECYCLE_MLFLOW_ARTIFACTS"):
        register(MlflowRegistry(proxied), candidate)


def test_a_release_that_is_not_here_is_refused(registry, candidate):
    gone = candidate.release.model_copy(update={"uri": "s3://bucket/release"})

    with pytest.raises(IntegrityError, match="not in a local folder"):
        registry.register(candidate.run, gone, candidate.evaluation)


def test_a_report_that_is_gone_is_told(registry, candidate):
    Path(candidate.evaluation.report).unlink()

    with pytest.raises(StateError, match=r"report\.html is gone"):
        register(registry, candidate)
