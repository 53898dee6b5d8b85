"""The peers: how each is started, what it is asked, and what its answer means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.commands import ROOT

Record = Mapping[str, Any]
PEERS = ROOT / "benchmarks" / "peers"


@dataclass(frozen=True, eq=False)  # each is itself, so that it can be a key
class Peer:
    """One way to serve the model.

    Attributes:
        name: Its folder, and its environment's.
        title: On the page.
        batching: Whether it batches requests that arrive together.
        command: Python of its environment, port and scratch folder -> the command that serves.
        path: What is POSTed to.
        up: What is asked to see whether it is up.
        body: A record -> the request's body.
        answer: A parsed answer -> the prediction.
        prepare: The command to run once before, if any.
        files: Written to the scratch folder before: name -> JSON.
        environment: Further variables.
    """

    name: str
    title: str
    batching: bool
    command: Callable[[Path, int, Path], list[str]]
    path: str
    up: str
    body: Callable[[Record], Any]
    answer: Callable[[Any], float]
    prepare: Callable[[Path, Path], list[str]] | None = None
    files: Callable[[int], Mapping[str, Any]] = lambda _port: {}
    environment: Mapping[str, str] = field(default_factory=dict)


def _script(name: str) -> Callable[[Path, int, Path], list[str]]:
    return lambda python, port, _scratch: [str(python), str(PEERS / name / "serve.py"), str(port)]


def _features(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.items() if not name.endswith("_id")}


def _in_days(record: Record) -> dict[str, Any]:
    """Dates as days since 1970, for peers whose own formats know no date."""
    row = _features(record)
    return row | {"sold_on": float((date.fromisoformat(row["sold_on"]) - date(1970, 1, 1)).days)}


def _open_inference(record: Record) -> dict[str, Any]:
    inputs = [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": "BYTES",
            "data": [value],
            "parameters": {"content_type": "str"},
        }
        if isinstance(value, str)
        else {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [float(value)]}
        for name, value in _in_days(record).items()
    ]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


def _floats(record: Record) -> dict[str, Any]:
    """Numbers as MLflow's signature-free tables want them: one type a column."""
    return {
        name: value if isinstance(value, str) else float(value) for name, value in _in_days(record).items()
    }


LIMIT = Peer(
    name="limit",
    title="bare ASGI + onnxruntime",
    batching=False,
    command=_script("limit"),
    path="/",
    up="/",
    body=_features,
    answer=lambda answer: answer["prediction"],
)
TUTORIAL = Peer(
    name="tutorial",
    title="FastAPI + scikit-learn, the tutorial",
    batching=False,
    command=_script("tutorial"),
    path="/predict",
    up="/",
    body=_features,
    answer=lambda answer: answer["prediction"],
)
LITSERVE = Peer(
    name="litserve",
    title="LitServe 0.2.19",
    batching=False,
    command=_script("litserve"),
    path="/predict",
    up="/health",
    body=_features,
    answer=lambda answer: answer["prediction"],
)
MLFLOW = Peer(
    name="mlflow",
    title="mlflow models serve 3.17.2",
    batching=False,
    command=lambda python, port, scratch: [
        *(str(python.with_name("mlflow")), "models", "serve", "--model-uri", str(scratch / "model")),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ],
    path="/invocations",
    up="/ping",
    body=lambda record: {"dataframe_records": [_floats(record)]},
    answer=lambda answer: answer["predictions"][0],
    prepare=lambda python, scratch: [
        str(python),
        str(PEERS / "mlflow" / "prepare.py"),
        str(scratch / "model"),
    ],
    environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
)
MLSERVER = Peer(
    name="mlserver",
    title="MLServer 1.7.1, adaptive batching",
    batching=True,
    command=lambda python, _port, scratch: [str(python.with_name("mlserver")), "start", str(scratch)],
    path="/v2/models/prices/infer",
    up="/v2/models/prices/ready",
    body=_open_inference,
    answer=lambda answer: answer["outputs"][0]["data"][0],
    files=lambda port: {
        "settings.json": {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": port + 1,
            "metrics_port": port + 2,
            "parallel_workers": 0,
            "debug": False,
        },
        "model-settings.json": {
            "name": "prices",
            "implementation": "benchmarks.peers.mlserver.runtime.Prices",
            "max_batch_size": 64,
            "max_batch_time": 0.01,
        },
    },
)
BENTOML = Peer(
    name="bentoml",
    title="BentoML 1.4.40, adaptive batching",
    batching=True,
    command=lambda python, port, _scratch: [
        *(str(python.with_name("bentoml")), "serve", "benchmarks.peers.bentoml.service:Prices"),
        *("--host", "127.0.0.1", "--port", str(port), "--working-dir", str(ROOT)),
    ],
    path="/predict",
    up="/readyz",
    body=lambda record: {"records": [_features(record)]},
    answer=lambda answer: answer[0],
    environment={"BENTOML_DO_NOT_TRACK": "True"},
)
ALL = (TUTORIAL, LITSERVE, MLFLOW, MLSERVER, BENTOML)


def encoded(peer: Peer, record: Record) -> bytes:
    """The bytes of a request's body."""
    return json.dumps(peer.body(record)).encode()
