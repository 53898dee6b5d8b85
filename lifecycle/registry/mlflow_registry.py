"""The model registry on MLflow: find or make, step by step, so that a second attempt ends where one would."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lifecycle.core.errors import ConfigError, IntegrityError, StateError
from lifecycle.core.params import load_params
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import MANIFEST, Manifest, read_engine, read_schema
from lifecycle.core.settings import Settings
from lifecycle.core.values import Evaluation, ModelVersion, Release, TrainingRun
from lifecycle.registry import runs
from lifecycle.registry.connection import open_client, speaking
from lifecycle.registry.description import Told, describe
from lifecycle.registry.glance import aliases_seen
from lifecycle.registry.packaging import RELEASE_FOLDER, write_model_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, LoggedModel, Run

CANDIDATE = "candidate"
_VERSIONS_TAG = "mlflow.modelVersions"  # by which the UI links a logged model to its version


class MlflowRegistry:
    """Runs, versions and aliases in MLflow.

    Everything is found by the release's digest before it is made, and a version is made last, in one
    request, once its files are all there. So a process killed anywhere leaves nothing that a second
    attempt does not take over, and there is never a version without its release. One flow at a time per
    system is assumed (``Workspace.locked``).

    Args:
        settings: Names the tracking server or database, and where artefacts are stored.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def register(self, run: TrainingRun, release: Release, evaluation: Evaluation) -> ModelVersion:
        """The version that carries this release, made if there is none; its alias is ``candidate``.

        Args:
            run: What was trained; ``folder`` is the project it was trained in.
            release: In a local folder; it is copied into the artifact store, once.
            evaluation: What a reviewer shall see; a newer one replaces an older one's words and report.

        Returns:
            The version. Its release lies in the artifact store: ``uri`` is the folder of its manifest, for
            servers to fetch without MLflow.

        Raises:
            StorageError: A disk, database or artifact store refuses; no version was made.
            UnavailableError: MLflow does not answer.
        """
        folder = _local_folder(release)
        schema = read_schema(folder)
        with speaking(self._settings):
            experiment = self._experiment(run.system)
            tracked = self._run(experiment, run, release, evaluation)
            with self._failing(tracked):
                runs.log_facts(self._client, tracked.info.run_id, run, evaluation, schema)
                runs.log_files(self._client, tracked.info.run_id, run, evaluation)
                model = self._logged_model(experiment, tracked, release, folder, schema)
                self._named(run.system, schema)
                version = self._version(tracked, model, run, release, evaluation)
            self._client.set_registered_model_alias(run.system, CANDIDATE, version)
            shown = json.dumps([{"name": run.system, "version": version}])
            self._client.set_logged_model_tags(model.model_id, {_VERSIONS_TAG: shown})
            self._client.set_terminated(tracked.info.run_id, "FINISHED")
            stored = release.model_copy(update={"uri": _release_uri(model)})
        return ModelVersion(name=run.system, version=version, run=tracked.info.run_id, release=stored)

    def mirror(self, name: str, champion: str | None, previous: str | None) -> Sequence[str]:
        """Make the aliases ``champion`` and ``previous`` follow the ledger.

        Args:
            name: The registered model: the system's name.
            champion: The version that is live; None for nothing.
            previous: The version that a rollback would make live; None for nothing.

        Returns:
            The aliases that were wrong, and now are right.

        Raises:
            StateError: MLflow has no such version.
            UnavailableError: MLflow does not answer.
        """
        wanted = {"champion": champion, "previous": previous}
        seen = aliases_seen(self._settings, name)
        if seen is not None and all(seen.get(alias) == version for alias, version in wanted.items()):
            return ()
        with speaking(self._settings):
            found = self._client.search_registered_models(f"name = '{name}'")
            aliases = found[0].aliases if found else {}
            wrong = [alias for alias, version in wanted.items() if _as_text(aliases.get(alias)) != version]
            for alias in wrong:
                version = wanted[alias]
                if version is None:
                    self._client.delete_registered_model_alias(name, alias)
                else:
                    self._client.set_registered_model_alias(name, alias, version)
        return tuple(wrong)

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self._settings)

    def _experiment(self, system: str) -> Experiment:
        """One experiment per system, whose artefacts lie where servers can fetch them."""
        location = f"{self._settings.artifacts.rstrip('/')}/{system}"
        if urlsplit(location).scheme == "mlflow-artifacts":
            raise ConfigError(
                "releases behind MLflow's own artifact proxy cannot be fetched without MLflow",
                hint="set LIFECYCLE_MLFLOW_ARTIFACTS to the folder or bucket itself: file://... or s3://...",
            )
        found = self._client.get_experiment_by_name(system)
        if found is None:
            self._client.create_experiment(system, artifact_location=location)
        elif found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        made = self._client.get_experiment_by_name(system)
        if made is None:
            raise StateError(f"MLflow lost the experiment {system!r}", hint="run the command again")
        return made

    def _run(self, experiment: Experiment, run: TrainingRun, release: Release, evaluation: Evaluation) -> Run:
        """The run of this release on these terms: one that a killed process left, or a new one.

        What a candidate is judged by may change between two attempts, and MLflow lets no parameter of a run
        change: other terms are another run, and the old one still shows what was asked then.
        """
        tags = runs.run_tags(run, release, evaluation, self._settings.actor)
        params = runs.params_of(run)
        for found in self._client.search_runs(
            [experiment.experiment_id], f"tags.`{runs.RELEASE_TAG}` = '{release.digest}'"
        ):
            shown, complete = found.data.params, found.info.status == "FINISHED"
            if shown == params or (not complete and shown.items() <= params.items()):
                for key, value in tags.items():
                    self._client.set_tag(found.info.run_id, key, value)
                return found
        name = f"{run.split.test.end:%Y-%m-%d} {release.digest[:12]}"
        return self._client.create_run(experiment.experiment_id, tags=tags, run_name=name)

    @contextmanager
    def _failing(self, tracked: Run) -> Iterator[None]:
        """Mark the run failed when something goes wrong; the next attempt takes it over."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                self._client.set_terminated(tracked.info.run_id, "FAILED")
            raise

    def _logged_model(
        self, experiment: Experiment, tracked: Run, release: Release, folder: Path, schema: RecordSchema
    ) -> LoggedModel:
        """The model whose files are complete; an upload that was cut off is done again, over itself."""
        found = self._client.search_logged_models(
            [experiment.experiment_id], f"tags.`{runs.RELEASE_TAG}` = '{release.digest}'"
        )
        ready = [model for model in found if model.status == "READY"]
        run_id = tracked.info.run_id
        if ready:
            self._link(run_id, ready[0])
            return ready[0]
        model = found[0] if found else self._new_model(experiment, run_id, release)
        self._link(run_id, model)
        self._client.log_model_artifacts(model.model_id, str(folder), RELEASE_FOLDER)
        with tempfile.TemporaryDirectory() as beside:
            choice = read_engine(folder)
            write_model_folder(
                Path(beside),
                schema,
                release,
                run_id=run_id,
                model_id=model.model_id,
                engine=choice.engine if choice else "onnx",
            )
            self._client.log_model_artifacts(model.model_id, beside)
        return self._client.finalize_logged_model(model.model_id, "READY")

    def _new_model(self, experiment: Experiment, run_id: str, release: Release) -> LoggedModel:
        return self._client.create_logged_model(
            experiment.experiment_id,
            name=release.system,
            source_run_id=run_id,
            tags={runs.RELEASE_TAG: release.digest},
        )

    def _link(self, run_id: str, model: LoggedModel) -> None:
        """Show the model among the run's outputs; MLflow refuses to be told twice."""
        from mlflow.entities import LoggedModelOutput

        outputs = self._client.get_run(run_id).outputs
        linked = outputs.model_outputs if outputs else []
        if model.model_id not in {output.model_id for output in linked}:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _named(self, name: str, schema: RecordSchema) -> None:
        """The registered model, described as its record is."""
        found = self._client.search_registered_models(f"name = '{name}'")
        if not found:
            self._client.create_registered_model(name, description=schema.description)
        elif found[0].description != schema.description:
            self._client.update_registered_model(name, schema.description)

    def _version(
        self, tracked: Run, model: LoggedModel, run: TrainingRun, release: Release, evaluation: Evaluation
    ) -> str:
        """The number of the version; one that is there is told the newer words and tags."""
        run_id, name = tracked.info.run_id, run.system
        # The UI's own route; the description is read on the same page, whatever its address.
        report = f"#/experiments/{tracked.info.experiment_id}/runs/{run_id}/artifactPath/{runs.REPORT}"
        words = describe(run, release, evaluation, report, _told(run, release))
        tags = runs.origin_tags(run, release, evaluation)
        found = self._client.search_model_versions(
            f"name = '{name}' and tags.`{runs.RELEASE_TAG}` = '{release.digest}'"
        )
        if not found:
            made = self._client.create_model_version(
                name,
                source=model.artifact_location,
                run_id=run_id,
                model_id=model.model_id,
                tags=tags,
                description=words,
            )
            return str(made.version)
        version = str(found[0].version)
        self._client.update_model_version(name, version, words)
        for key, value in tags.items():
            self._client.set_model_version_tag(name, version, key, value)
        return version


def _local_folder(release: Release) -> Path:
    parts = urlsplit(release.uri)
    folder = Path(url2pathname(parts.path))
    if parts.scheme != "file" or not (folder / MANIFEST).is_file():
        raise IntegrityError(
            f"release {release.digest[:12]} is not in a local folder", hint="package it again, then register"
        )
    return folder


def _told(run: TrainingRun, release: Release) -> Told:
    """What was declared of the system, as its release and its parameters have it."""
    folder = _local_folder(release)
    return Told(
        card=Manifest.model_validate_json((folder / MANIFEST).read_bytes()).card,
        params=load_params(Path(run.folder)).system(run.system),
        sealed=read_schema(folder).is_sealed,
    )


def _release_uri(model: LoggedModel) -> str:
    """The release's folder in the artifact store, as servers fetch it."""
    location = str(model.artifact_location)
    if not urlsplit(location).scheme:
        location = Path(location).absolute().as_uri()
    return f"{location.rstrip('/')}/{RELEASE_FOLDER}"


def _as_text(version: Any) -> str | None:
    return None if version is None else str(version)
