"""What reviewers and servers find in MLflow after a candidate was registered."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lifecycle.core.card import ModelCard
from lifecycle.core.params import load_params
from lifecycle.core.release import verify_release
from lifecycle.records.signing import Ed25519Signer
from lifecycle.registry.connection import open_client, speaking
from lifecycle.registry.description import LONGEST, Told, describe
from tests.registry.conftest import SYSTEM, renewed


@pytest.fixture
def shown(published):
    """MLflow as a reviewer finds it; only to be looked at."""
    with speaking(published.settings):
        yield open_client(published.settings)


@pytest.fixture
def registered(registry, candidate):
    return registry.register(candidate.run, candidate.release, candidate.evaluation)


@pytest.fixture
def client(settings, registry):
    with speaking(settings):
        yield open_client(settings)


def test_the_release_lies_in_the_store_once_and_still_verifies(published):
    settings, folder = published.settings, published.folder

    manifest = verify_release(folder, published.candidate.release.digest, Ed25519Signer(settings.keys))

    assert manifest.system == SYSTEM
    assert published.version.release.uri == folder.as_uri()
    store = Path(urlsplit(settings.artifacts).path)
    assert folder.is_relative_to(store / SYSTEM)
    assert len(list(store.rglob("model.onnx"))) == 1


def test_a_version_holds_no_pickle_no_code_and_no_guessed_requirements(published):
    folder = published.folder.parent
    # MLflow leaves a note of its own where a version was loaded before.
    present = {path.name for path in folder.iterdir()} - {"registered_model_meta"}

    assert present == {
        "MLmodel",
        "release",
        "requirements.txt",
        "python_env.yaml",
        "input_example.json",
        "serving_input_example.json",
    }
    requirements = (folder / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in requirements] == ["lifecycle[serving]", "mlflow"]


def test_a_run_shows_parameters_metrics_data_and_origin(published, shown):
    run = shown.get_run(published.version.run)

    assert run.info.status == "FINISHED"
    assert run.data.params["split.test_days"] == "60"
    assert run.data.params["gates.0.max"] == "200.0"
    assert run.data.metrics["test_mae"] == 100.0
    assert run.data.metrics["rows_train"] == 9000
    assert run.data.metrics["served_latency_p99_ms"] == 140.0
    assert "test_bias" not in run.data.metrics  # it was NaN
    assert run.data.tags["mlflow.source.git.commit"] == published.candidate.run.commit
    assert run.data.tags["lifecycle.snapshot"] == published.candidate.run.snapshot.id
    assert run.data.tags["lifecycle.release"] == published.candidate.release.digest
    data = run.inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest) == (SYSTEM, published.candidate.run.snapshot.id)
    assert json.loads(data.source)["commit"] == published.candidate.run.commit
    assert [output.model_id for output in run.outputs.model_outputs]


def test_no_password_of_a_source_is_shown(published, shown):
    run = shown.get_run(published.version.run)

    assert run.data.params["sources.0.url"] == "postgresql://db/rents"
    assert not [value for value in run.data.params.values() if "hunter2" in value or "s3cret" in value]


def test_report_and_figures_can_be_opened_and_predictions_stay_away(published, shown):
    def listed(path: str | None = None) -> list[str]:
        found = shown.list_artifacts(published.version.run, path)
        return [name for item in found for name in (listed(item.path) if item.is_dir else [item.path])]

    assert listed() == ["evaluation/residuals.csv", "evaluation/slices/heating.csv", "report/report.html"]


def test_a_reviewer_reads_the_verdict_what_is_not_kept_and_what_to_do(published, shown):
    version = shown.get_model_version(SYSTEM, published.version.version)

    assert version.run_id == published.version.run
    words = version.description.replace("&emsp;", "")
    assert "because somebody asked for it" in words
    assert "**Intended use**: To plan moves." in words
    assert "**Regulation**: GDPR Art. 22: a person decides." in words
    assert words.startswith("- ✅ **better** against the baseline *last known value*: mae 100 to 150")
    assert "**1 of 2 gates kept**. It may not be promoted as it is." in words
    assert "| latency_p99_ms | 140 | 100 | 40 over |" in words
    assert "\n| --- | --- |" in version.description, "no table without such a line, to the letter"
    assert "| Train | 2020-01-01 | 2023-12-02 | 9,000 |" in words
    assert f"lifecycle rollback {SYSTEM}" in words
    assert f"/runs/{published.version.run}/artifactPath/report/report.html" in words
    assert shown.get_registered_model(SYSTEM).description == "One flat let in Vienna."


def test_what_is_longer_than_mlflow_takes_is_cut_at_its_end(candidate):
    told = Told(
        ModelCard(intended_use="x" * LONGEST),
        load_params(Path(candidate.run.folder)).system(SYSTEM),
        sealed=False,
    )
    words = describe(candidate.run, candidate.release, candidate.evaluation, "#", told)
    assert len(words) == LONGEST
    assert words.startswith("- ✅")
    assert words.endswith("the report has the rest.")


def test_a_newer_evaluation_of_the_same_release_replaces_the_words(registry, registered, client, candidate):
    newer = renewed(candidate, metrics={"mae": 77.0}, champion="a" * 64, champion_metrics={"mae": 88.0})

    registry.register(newer.run, newer.release, newer.evaluation)

    version = client.get_model_version(SYSTEM, registered.version)
    assert "| mae | 77 | 88 |" in version.description.replace("&emsp;", "")
    assert version.tags["lifecycle.champion"] == "a" * 64
    assert client.get_run(registered.run).data.metrics["test_mae"] == 77.0


def test_a_release_judged_on_other_terms_gets_a_run_of_its_own(registry, registered, client, candidate):
    params = Path(candidate.run.folder) / "params.yaml"
    terms = params.read_text()
    for changed in (terms.replace("max: 200", "max: 300"), terms.partition("    gates:")[0]):
        params.write_text(changed)
        again = registry.register(candidate.run, candidate.release, candidate.evaluation)
        assert again.version == registered.version
        assert again.run != registered.run
        asked = client.get_run(again.run)
        assert asked.data.params.get("gates.0.max") == ("300.0" if "300" in changed else None)
        assert asked.outputs.model_outputs == client.get_run(registered.run).outputs.model_outputs
        assert f"/runs/{again.run}/" in client.get_model_version(SYSTEM, again.version).description
    assert client.get_run(registered.run).data.params["gates.0.max"] == "200.0"

    params.write_text(terms)
    assert registry.register(candidate.run, candidate.release, candidate.evaluation) == registered


def test_an_alias_that_somebody_moved_by_hand_is_put_back(registry, registered, client, make_candidate):
    other = make_candidate(600)
    registry.register(other.run, other.release, other.evaluation)
    registry.mirror(SYSTEM, "1", None)
    client.set_registered_model_alias(SYSTEM, "champion", "2")
    client.set_registered_model_alias(SYSTEM, "previous", "2")

    assert registry.mirror(SYSTEM, "1", None) == ("champion", "previous")

    assert client.get_registered_model(SYSTEM).aliases == {"candidate": 2, "champion": 1}


def test_a_deleted_experiment_is_restored_with_its_release(registry, registered, client, candidate):
    client.delete_experiment(client.get_experiment_by_name(SYSTEM).experiment_id)

    again = registry.register(candidate.run, candidate.release, candidate.evaluation)

    assert again.version == registered.version
    assert again.release == registered.release


def test_opening_a_new_database_is_quiet_and_touches_nothing_else(first_use):
    """In a process of its own, where nothing has been imported or made before."""
    assert (first_use.returncode, first_use.stdout, first_use.stderr) == (0, "", "")


def test_registering_says_nothing(registry, candidate, capfd):
    registry.register(candidate.run, candidate.release, candidate.evaluation)
    registry.mirror(SYSTEM, "1", None)

    assert capfd.readouterr() == ("", "")


def test_mlflows_own_settings_are_left_alone(published):
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert logging.getLogger("mlflow").level < logging.CRITICAL
