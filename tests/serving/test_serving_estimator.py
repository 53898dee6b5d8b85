"""A model that ONNX cannot answer: trained, packaged and served as any other, by scikit-learn itself."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from lifecycle.core.errors import IntegrityError
from lifecycle.core.params import load_params
from lifecycle.core.release import Manifest
from lifecycle.core.system import load_system
from lifecycle.core.values import Counts, Deployment, Release, Snapshot, TrainingRun
from lifecycle.data.ingest import ingest
from lifecycle.mlflow_loader import _load_pyfunc
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.client import Connection
from lifecycle.serving.engine import load_engine
from lifecycle.steps import stages
from lifecycle.steps.loop import Loop
from lifecycle.steps.reproduce import prove
from lifecycle.training.persist import load_estimator
from lifecycle.wiring import engine_loader, estimator_command
from tests.serving.conftest import eventually
from tests.serving.test_serving_store import folder_of

pytestmark = pytest.mark.slow

NAME = "odd-deliveries"
TYPE = "odd_deliveries.Nearest"
SYSTEM = '''
from datetime import date, timedelta
from typing import Annotated
import numpy as np
from annotated_types import Ge, Le
from sklearn.base import BaseEstimator, RegressorMixin
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.system import System

HANGS = 99

class Delivery(Record):
    """One delivery."""
    delivery_id: Annotated[str, RecordId()]
    left_on: Annotated[date, EventTime()]
    distance: Annotated[float, Feature(), Ge(0), Le(HANGS)]
    minutes: Annotated[float, Label(delay=timedelta(days=1))]

class Nearest(RegressorMixin, BaseEstimator):
    """The mean of all that were within a kilometre; nobody wrote a converter for it."""
    def fit(self, X, y):
        self.distances_, self.minutes_ = X["distance"].to_numpy(np.float64), y
        return self
    def predict(self, X):
        print("an estimator that talks")
        asked = X["distance"].to_numpy(np.float64)
        while (asked == HANGS).any():
            pass
        near = np.abs(asked[:, None] - self.distances_) < 1
        return (near * self.minutes_).sum(axis=1) / np.maximum(near.sum(axis=1), 1)

SYSTEM = System(name="odd-deliveries", record=Delivery, task="regression", build_model=lambda seed: Nearest(),
                metrics=("mae",), primary="mae", trusted_types=("odd_deliveries.Nearest",))
'''
PARAMS = {
    "entry": "odd_deliveries:SYSTEM",
    "code": "odd_deliveries.py",
    "sources": [{"origin": "user", "kind": "csv", "path": "source.csv"}],
    "split": {"validation_days": 30, "test_days": 30, "min_train_rows": 100, "min_validation_rows": 10},
}
AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
RECORD = {"distance": 12.5}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Path]:
    """A user's project, trained as DVC would have its stages do it."""
    root = tmp_path_factory.mktemp("project")
    (root / "odd_deliveries.py").write_text(SYSTEM)
    (root / "params.yaml").write_text(yaml.safe_dump({"systems": {NAME: PARAMS}}))
    (root / "requirements.lock").write_text("")
    draw = random.Random(1)
    lines = ["delivery_id,left_on,distance,minutes"]
    for number in range(1500):
        distance = draw.uniform(0, 40)
        day = AS_OF - timedelta(days=2 + number // 4)
        lines.append(f"D{number},{day:%Y-%m-%d},{distance:.2f},{5 + 2 * distance:.1f}")
    (root / "source.csv").write_text("\n".join(lines))
    path = list(sys.path)
    params = load_params(root).system(NAME)
    schema = load_system(params.entry, root).schema
    ingest(schema, params, root, AS_OF, root / "data" / NAME, root / "refused.jsonl")
    stages.run_split(root, NAME, in_clear)
    for run in (stages.run_train, stages.run_evaluate):
        run(root, NAME, engine_loader(root), in_clear)
    yield root
    sys.path[:] = path
    sys.modules.pop("odd_deliveries", None)


def in_clear(_schema):
    """Nothing in the record is sensitive."""


@pytest.fixture(scope="module")
def release(project) -> Release:
    """Packaged by the loop's own step."""
    split = json.loads((project / "artifacts" / NAME / "split" / "split.json").read_text())
    snapshot = Snapshot(system=NAME, id="a1", commit="b2", last_event=AS_OF, counts=Counts())
    run = TrainingRun(system=NAME, snapshot=snapshot, commit="b2", ran=(), folder=str(project), split=split)
    loop: Any = SimpleNamespace(
        releases=project / "releases", signer=Ed25519Signer(project / ".lifecycle" / "keys")
    )
    loop._declared = lambda: (
        load_system(PARAMS["entry"], project),
        load_params(project).system(NAME),
    )
    return Loop.package(loop, run)


@contextmanager
def serving(project: Path, release: Release) -> Iterator[tuple[subprocess.Popen[bytes], Connection]]:
    """A real server process, with one process of scikit-learn beside it."""
    estimator = shlex.join(estimator_command(project))
    module = [sys.executable, "-m", "lifecycle.serving", "--release", str(folder_of(release))]
    with subprocess.Popen(
        [*module, "--estimator", estimator],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"LIFECYCLE_ESTIMATOR_WORKERS": "1"},
    ) as server:
        try:
            with Connection(json.loads(server.stdout.readline())["address"]) as connection:
                eventually(lambda: get(connection, "/readyz")["ready"], seconds=60)
                yield server, connection
        finally:
            server.kill()


def get(connection: Connection, path: str) -> dict[str, Any]:
    return json.loads(connection.send(connection.prepare("GET", path))[1])


def test_the_release_says_what_runs_it_and_holds_no_onnx_model(project, release):
    folder = folder_of(release)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert (manifest.engine, manifest.parity, manifest.trusted_types) == ("skops", None, (TYPE,))
    assert manifest.engine_reason == f"{TYPE} has no converter to ONNX"
    assert set(manifest.files) == {"model.skops", "schema.json", "reference.json"}
    assert manifest.metrics["mae"] < 2


def test_a_server_answers_as_scikit_learn_does_says_so_and_leaves_nothing_behind(project, release):
    estimator = load_estimator(folder_of(release), (TYPE,))
    [expected] = estimator.predict(pd.DataFrame({"distance": np.float32([12.5])}))
    with serving(project, release) as (server, connection):
        page = get(connection, f"/v1/{NAME}")
        assert (page["engine"], page["engine_reason"]) == ("skops", f"{TYPE} has no converter to ONNX")

        predict = connection.prepare("POST", f"/v1/{NAME}/predict", json.dumps(RECORD).encode())
        status, body = connection.send(predict)
        assert (status, json.loads(body)["prediction"]) == (200, expected)

        loaded = Path(f"/proc/{server.pid}/maps").read_text()
        assert "sklearn" not in loaded, "the server itself never loads scikit-learn"
        [process] = psutil.Process(server.pid).children()

        hangs = json.dumps({"distance": 99.0}).encode()
        connection._socket.sendall(connection.prepare("POST", f"/v1/{NAME}/predict", hangs))
        eventually(lambda: process.cpu_percent(0.05) > 50)
        server.kill()
        eventually(lambda: not process.is_running())


def test_where_the_users_code_is_not_a_release_says_what_is_missing(release, tmp_path):
    with pytest.raises(IntegrityError, match=r"the code of a type inside model\.skops is not here") as caught:
        load_engine(folder_of(release), estimator=estimator_command(tmp_path), workers=1)
    assert "No module named 'odd_deliveries'" in caught.value.message
    assert "LIFECYCLE_PROJECT" in caught.value.message


def test_mlflow_loads_it_and_it_answers(project, release, monkeypatch):
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(project))
    folder = folder_of(release)
    (folder.parent / "MLmodel").write_text(yaml.safe_dump({"metadata": {"release": release.digest}}))
    [answer] = _load_pyfunc(str(folder)).predict(pd.DataFrame([RECORD]))
    assert answer == pytest.approx(30, abs=1)


def test_a_reproduction_compares_what_served(project, release):
    """Trained again, there may be an ONNX model beside it: that is not what answered."""

    def in_this_process(folder: Path) -> Any:
        estimator = load_estimator(folder, (TYPE,))
        return SimpleNamespace(
            predict=lambda tensors: estimator.predict(pd.DataFrame({"distance": tensors.numbers[:, 0]}))
        )

    decided = Deployment(
        id=1,
        system=NAME,
        decided_at=AS_OF,
        as_of=AS_OF,
        actor="ada",
        decision="first-deployment",
        release=release,
        version="1",
        previous=None,
        evidence={},
    )
    folder = folder_of(release)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    proof = prove(decided, manifest, folder, project, in_this_process, in_clear)
    assert (proof.same, proof.same_file) == (True, True)
    assert proof.said.endswith("the files of the models are identical")
