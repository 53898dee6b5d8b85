"""What an MLflow run shows of a training: parameters, metrics, data, origin, figures and the report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lifecycle.core.errors import StateError
from lifecycle.core.layout import Layout
from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.record import RecordSchema
from lifecycle.core.values import Evaluation, Release, TrainingRun
from lifecycle.registry.packaging import signature_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

RELEASE_TAG = "lifecycle.release"
"""On run, logged model and version alike: the digest by which a second attempt finds the first."""

REPORT = "report/report.html"
PLOTS = "report/plots"
_FIGURES = {".csv", ".html", ".json", ".png", ".svg"}
_BATCH = 100  # MLflow's bound on params and tags in one request
_DIGEST_LIMIT = 36  # and on a dataset's digest


def log_facts(
    client: MlflowClient, run_id: str, run: TrainingRun, evaluation: Evaluation, schema: RecordSchema
) -> None:
    """Write parameters, metrics and the dataset into a run; writing them again changes nothing."""
    from mlflow.entities import Metric, Param
    from mlflow.utils.time import get_current_time_millis

    flat = [Param(key, value) for key, value in params_of(run).items()]
    for start in range(0, len(flat), _BATCH):
        client.log_batch(run_id, params=flat[start : start + _BATCH])
    # MLflow orders the points of a metric by its own clock.
    now = get_current_time_millis()  # type: ignore[no-untyped-call]
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in metrics_of(run, evaluation).items()],
    )
    client.log_inputs(run_id, [_dataset(run, schema)])


def log_files(client: MlflowClient, run_id: str, run: TrainingRun, evaluation: Evaluation) -> None:
    """Upload the review report with its pictures, and the tables of stage ``evaluate``.

    Predictions stay with DVC: they name single records.

    Raises:
        StateError: The report the evaluation names is not there.
    """
    report = Path(evaluation.report)
    if evaluation.report:
        if not report.is_file():
            raise StateError(f"the review report {report} is gone", hint="evaluate again, then register")
        client.log_text(run_id, report.read_text(encoding="utf-8"), REPORT)
        for picture in sorted(report.parent.glob("*.png")):
            client.log_artifact(run_id, str(picture), PLOTS)
    folder = Layout(Path(run.folder), run.system).evaluation
    for path in sorted(folder.rglob("*")):
        if path.suffix in _FIGURES and path != report:
            client.log_artifact(run_id, str(path), str(Path("evaluation") / path.parent.relative_to(folder)))


def origin_tags(run: TrainingRun, release: Release, evaluation: Evaluation) -> dict[str, str]:
    """The tags of run and version alike: everything that names an origin, and how it was judged."""
    return {
        RELEASE_TAG: release.digest,
        "lifecycle.snapshot": run.snapshot.id,
        "lifecycle.commit": run.commit,
        "lifecycle.split": run.split.digest,
        "lifecycle.trigger": run.trigger,
        "lifecycle.champion": evaluation.champion or "none",
        "lifecycle.verdict": ", ".join(it.verdict.value for it in evaluation.comparisons),
        "lifecycle.engine": evaluation.engine,
        "lifecycle.gates": "kept" if evaluation.passed else "not kept",
    }


def run_tags(run: TrainingRun, release: Release, evaluation: Evaluation, actor: str) -> dict[str, str]:
    """The tags of a run: its origin, in our names and in those that MLflow's UI shows."""
    return origin_tags(run, release, evaluation) | {
        "mlflow.source.git.commit": run.commit,
        "mlflow.source.name": f"lifecycle ({run.system})",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": actor,
    }


def metrics_of(run: TrainingRun, evaluation: Evaluation) -> dict[str, float]:
    """The metrics of a run: of the test window, the champion's beside them, rows, and what was measured."""
    split = run.split
    found = {f"test_{name}": value for name, value in evaluation.metrics.items()}
    found |= {f"champion_{name}": value for name, value in evaluation.champion_metrics.items()}
    found |= {f"rows_{part}": getattr(split, part).rows for part in ("train", "validation", "test")}
    found |= {f"rows_{part}": getattr(split, part) for part in ("purged", "embargoed", "regrouped")}
    if evaluation.measurements:
        found |= {f"served_{name}": value for name, value in evaluation.measurements}
    if evaluation.batch:
        found |= {f"batch_{name}": float(value) for name, value in evaluation.batch}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def params_of(run: TrainingRun) -> dict[str, str]:
    """The parameters of a run: all of its system, by dotted names."""
    return dict(flatten(shown_params(load_params(Path(run.folder)).system(run.system))))


def shown_params(params: SystemParams) -> dict[str, Any]:
    """The parameters as people may see them: a database's address without user, password and options."""
    shown = params.model_dump(mode="json")
    for source in shown["sources"]:
        if source["url"] and not source["url"].startswith("$"):
            parts = urlsplit(source["url"])
            source["url"] = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    return shown


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as dotted names.

    Example:
        >>> dict(flatten({"seed": 7, "gates": [{"metric": "mae"}], "slices": []}))
        {'seed': '7', 'gates.0.metric': 'mae'}
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}.{position}")
    elif value is not None:
        yield prefix, str(value)


def _dataset(run: TrainingRun, schema: RecordSchema) -> DatasetInput:
    """The snapshot as MLflow's dataset: name, digest and where DVC finds it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    origin = {"path": f"data/{run.system}", "commit": run.commit, "dvc": run.snapshot.id}
    profile = {"rows": run.snapshot.counts.kept, "origins": run.snapshot.origins}
    columns = signature_of(schema).inputs.to_dict()
    dataset = Dataset(
        name=run.system,
        digest=run.snapshot.id[:_DIGEST_LIMIT],
        source_type="dvc",
        source=json.dumps(origin),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
