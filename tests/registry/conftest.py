"""A project with a trained, released and evaluated candidate, and real MLflow on a copied database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import onnx
import pytest
from annotated_types import Ge, Le
from onnx import TensorProto, helper

from lifecycle.core.card import ModelCard
from lifecycle.core.ports import Registry
from lifecycle.core.record import Record, schema_of
from lifecycle.core.release import write_release
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.settings import Settings
from lifecycle.core.values import (
    Comparison,
    Counts,
    Evaluation,
    GateResult,
    Lineage,
    Measurements,
    ModelVersion,
    Parity,
    Release,
    Snapshot,
    Split,
    TrainingRun,
    Verdict,
    Window,
)
from lifecycle.records.signing import Ed25519Signer
from lifecycle.registry.mlflow_registry import MlflowRegistry
from tests.simulators.registry import RegistrySimulator

SYSTEM = "flat-rents"
PARAMS = """
systems:
  flat-rents:
    entry: systems.flat_rents:SYSTEM
    code: systems/flat_rents.py
    seed: 7
    sources:
      - {origin: user, kind: sql, url: "postgresql://ada:hunter2@db/rents?key=s3cret", query: SELECT 1}
    split: {validation_days: 30, test_days: 60}
    gates:
      - {metric: mae, max: 200}
"""


class Flat(Record):
    """One flat let in Vienna."""

    flat_id: Annotated[str, RecordId()]
    let_on: Annotated[date, EventTime(), Feature()]
    listed_at: Annotated[datetime | None, Feature()] = None
    area: Annotated[float, Feature(unit="m2"), Ge(10), Le(500)]
    floor: Annotated[int, Feature(), Ge(0), Le(50)]
    rooms: Annotated[int | None, Feature(), Ge(1), Le(20)] = None
    lift: Annotated[bool, Feature()]
    heating: Annotated[Literal["gas", "district", "none"], Feature()]
    street: Annotated[str | None, Feature()] = None
    rent: Annotated[float, Label(unit="EUR", delay=timedelta(days=30))]


SCHEMA = schema_of(Flat)


def tiny_model(path: Path, bias: float) -> None:
    """Rent = bias + the sum of all numbers (missing: 0) + 100 for district heating."""
    nodes = [
        helper.make_node("IsNaN", ["numbers"], ["gone"]),
        helper.make_node("Where", ["gone", "zero", "numbers"], ["known"]),
        helper.make_node("ReduceSum", ["known", "axis"], ["total"], keepdims=1),
        helper.make_node(
            "LabelEncoder",
            ["categories"],
            ["coded"],
            domain="ai.onnx.ml",
            keys_strings=["district"],
            values_floats=[100.0],
            default_float=0.0,
        ),
        helper.make_node("ReduceSum", ["coded", "axis"], ["extra"], keepdims=1),
        helper.make_node("Sum", ["total", "extra", "bias"], ["prediction"]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    inputs = [
        helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, len(SCHEMA.numbers)]),
        helper.make_tensor_value_info("categories", TensorProto.STRING, [None, len(SCHEMA.categories)]),
    ]
    outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])]
    graph = helper.make_graph(nodes, "rent", inputs, outputs, initializer=constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


@dataclass(frozen=True)
class Candidate:
    """What a flow hands to the registry."""

    run: TrainingRun
    release: Release
    evaluation: Evaluation


def window(start: str, end: str, rows: int) -> Window:
    return Window(
        start=datetime.fromisoformat(start).replace(tzinfo=UTC),
        end=datetime.fromisoformat(end).replace(tzinfo=UTC),
        rows=rows,
    )


SPLIT = Split(
    ok=True,
    train=window("2020-01-01", "2023-12-02", 9000),
    validation=window("2024-01-01", "2024-01-31", 300),
    test=window("2024-01-31", "2024-03-31", 600),
    purged=120,
    digest="5" * 64,
)
SNAPSHOT = Snapshot(
    system=SYSTEM,
    id="0123456789abcdef0123456789abcdef.dir",
    commit="c" * 40,
    last_event=None,
    counts=Counts(read=10_000, kept=9_900, quarantined=4),
)


def train(
    settings: Settings, bias: float = 500.0, *, champion: str | None = None, weight: int = 100
) -> Candidate:
    """Train, release and judge a candidate; those of one bias and weight (bytes) are one release."""
    root = settings.project
    model = root / "artifacts" / SYSTEM / "model"
    model.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(PARAMS)
    _draw(root / "artifacts" / SYSTEM / "evaluation", root / "report.html")
    tiny_model(model / "model.onnx", bias)
    (model / "schema.json").write_text(SCHEMA.model_dump_json())
    (model / "reference.json").write_bytes(b" " * weight)
    files = {name: model / name for name in ("model.onnx", "schema.json", "reference.json")}
    lineage = Lineage(
        snapshot=SNAPSHOT.id,
        commit=SNAPSHOT.commit,
        params="1" * 64,
        environment="2" * 64,
        split=SPLIT.digest,
        seed=7,
        train=SPLIT.train,
        validation=SPLIT.validation,
        test=SPLIT.test,
    )
    facts = {
        "system": SYSTEM,
        "task": "regression",
        "threshold": 0.5,
        "lineage": lineage,
        "metrics": {"mae": 100.0},
        "parity": Parity(rows=10, worst_relative=0.0, worst_row="f1", rtol=1e-4),
        "card": ModelCard(intended_use="To plan moves.", regulation={"GDPR Art. 22": "a person decides"}),
    }
    release = write_release(files, facts, settings.releases, Ed25519Signer(settings.keys))
    run = TrainingRun(
        system=SYSTEM,
        snapshot=SNAPSHOT,
        commit=SNAPSHOT.commit,
        ran=("train",),
        folder=str(root),
        split=SPLIT,
    )
    return Candidate(run, release, judged(release, champion, str(root / "report.html")))


def _draw(figures: Path, report: Path) -> None:
    """What stage ``evaluate`` and the judge leave to look at."""
    (figures / "slices").mkdir(parents=True, exist_ok=True)
    (figures / "residuals.csv").write_text("bin,count\n0,1\n")
    (figures / "slices" / "heating.csv").write_text("heating,mae\ngas,100\n")
    (figures / "predictions.parquet").write_bytes(b"rows of single records")
    report.write_text("<h1>Review of flat-rents</h1>")


def judged(release: Release, champion: str | None, report: str) -> Evaluation:
    comparison = Comparison(
        against=champion or "last known value",
        metric="mae",
        candidate=100.0,
        other=150.0,
        difference=-50.0,
        low=-60.0,
        high=-40.0,
        confidence=0.95,
        margin=3.0,
        rows=600,
        rows_digest="9" * 64,
        verdict=Verdict.BETTER,
    )
    gates = (
        GateResult(name="verdict", ok=True, measured="better", bound="better or not worse"),
        GateResult(name="latency_p99_ms", ok=False, measured="140", bound="100", detail="40 over"),
    )
    served = Measurements(
        latency_p50_ms=1.5,
        latency_p99_ms=140.0,
        offered_per_s=100.0,
        throughput_per_s=900.0,
        memory_mb=90.0,
        ready_s=1.1,
        size_mb=0.1,
        requests=500,
    )
    return Evaluation(
        release=release.digest,
        champion=champion,
        metrics={"mae": 100.0, "bias": float("nan")},
        champion_metrics={"mae": 150.0} if champion else {},
        comparisons=(comparison,),
        gates=gates,
        measurements=served,
        report=report,
    )


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path / "project")


@pytest.fixture
def make_candidate(settings) -> Callable[..., Candidate]:
    return partial(train, settings)


@pytest.fixture
def candidate(make_candidate) -> Candidate:
    return make_candidate()


_FIRST_USE = """
import os, sys
from lifecycle.core.settings import Settings
from lifecycle.registry import mlflow_registry
from lifecycle.registry.connection import open_client, speaking
assert not {"mlflow", "pandas", "sqlalchemy"} & set(sys.modules), "imported too early"
settings = Settings()
with speaking(settings):
    open_client(settings)
assert "MLFLOW_TRACKING_URI" not in os.environ
assert os.listdir() == [".lifecycle"], os.listdir()
"""


@pytest.fixture(scope="session")
def first_use(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """A process that opens MLflow for the first time, in an empty project."""
    project = tmp_path_factory.mktemp("first_use")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "DO_NOT", "LIFECYCLE"))}
    environment = kept | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", _FIRST_USE]
    done = subprocess.run(command, check=False, cwd=project, env=environment, capture_output=True, text=True)
    done.project = project
    return done


@pytest.fixture(scope="session")
def mlflow_template(first_use) -> Path:
    """An empty MLflow database: making its tables takes seconds, copying them none."""
    return first_use.project / ".lifecycle" / "mlflow" / "mlflow.db"


@pytest.fixture
def registry(settings, mlflow_template) -> MlflowRegistry:
    """Real MLflow on SQLite and files."""
    copy_database(mlflow_template, settings)
    return MlflowRegistry(settings)


@dataclass(frozen=True)
class Published:
    """A champion in MLflow, for tests that only look at it."""

    settings: Settings
    candidate: Candidate
    version: ModelVersion

    @property
    def folder(self) -> Path:
        """The registered release, in the artifact store."""
        return Path(urlsplit(self.version.release.uri).path)


@pytest.fixture(scope="session")
def published(tmp_path_factory, mlflow_template) -> Published:
    """Registered once for all tests that change nothing."""
    settings = Settings(project=tmp_path_factory.mktemp("published"))
    copy_database(mlflow_template, settings)
    candidate = train(settings)
    registry = MlflowRegistry(settings)
    version = registry.register(candidate.run, candidate.release, candidate.evaluation)
    registry.mirror(SYSTEM, version.version, None)
    return Published(settings, candidate, version)


def copy_database(template: Path, settings: Settings) -> None:
    target = Path(settings.tracking.removeprefix("sqlite:///"))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template, target)


@pytest.fixture(params=["simulator", "mlflow"])
def any_registry(request) -> Registry:
    """A registry of every kind."""
    return RegistrySimulator() if request.param == "simulator" else request.getfixturevalue("registry")


def renewed(candidate: Candidate, **changes: object) -> Candidate:
    """The same release, evaluated again."""
    return replace(candidate, evaluation=candidate.evaluation.model_copy(update=changes))
