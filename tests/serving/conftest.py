"""Small real releases, a ledger to promote them in, and a service over both."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import httpx
import onnx
import psutil
import pytest
import uvicorn
from annotated_types import Ge, Le, MaxLen
from fastapi import FastAPI
from onnx import TensorProto, helper
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lifecycle.core.ports import Ledger
from lifecycle.core.record import FieldSpec, Record, RecordSchema, schema_of
from lifecycle.core.release import write_release
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.values import Deployment, Lineage, Parity, Release, Window
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.app import create_app
from lifecycle.serving.lane import FastLane
from lifecycle.serving.store import VerifiedReleaseStore
from tests.simulators.ledger import LedgerSimulator

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
WALLS = {"brick": 10.0, "wood": 20.0}


class Home(Record):
    """One home, with a field of every kind."""

    home_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime(), Feature()]
    area: Annotated[float, Feature(unit="ft2"), Ge(100), Le(20_000)]
    beds: Annotated[int, Feature(), Ge(0), Le(30)]
    garden: Annotated[bool, Feature()]
    wall: Annotated[Literal["brick", "wood"], Feature()]
    depth: Annotated[float | None, Feature(unit="ft")]
    note: Annotated[str | None, Feature(), MaxLen(10)]
    price: Annotated[float, Label(unit="USD", delay=timedelta(days=30))]


HOMES = schema_of(Home)
OWNER = FieldSpec(name="owner", kind="text", subject_id=True, sensitive="identifiers")
OWNED = RecordSchema(name="Home", fields=(*HOMES.fields, OWNER))
"""The same, about somebody: sealed."""
WEIGHTS = {"sold_on": 0.0, "area": 2.0, "beds": 100.0, "garden": 7.0, "depth": 1.0}
HOME = {
    "home_id": "h1",
    "sold_on": "1996-01-31",
    "area": 1000.0,
    "beds": 3,
    "garden": True,
    "wall": "brick",
    "depth": 50.0,
}
ANSWER = 2 * 1000 + 100 * 3 + 7 + 50 + 10
"""What a release with constant 0 answers for ``HOME``."""


_WINDOW = Window(start=NOON, end=NOON + timedelta(days=30), rows=100)
FACTS: dict[str, object] = {
    "system": "homes",
    "task": "regression",
    "threshold": 0.5,
    "lineage": Lineage(
        snapshot="a1",
        commit="b2",
        params="c3",
        environment="d4",
        split="e5",
        seed=7,
        train=_WINDOW,
        validation=_WINDOW,
        test=_WINDOW,
    ),
    "metrics": {"mae": 12.5},
    "parity": Parity(rows=10, worst_relative=0.0, worst_row="h1", rtol=1e-4),
}
"""What the manifest of a release says of it."""


def write_model(folder: Path, constant: float, schema: RecordSchema = HOMES) -> Path:
    """A model folder: a weighted sum of the numbers, an effect of the wall, and a constant."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = [[WEIGHTS.get(name, 1.0)] for name in schema.numbers]
    wall = schema.categories.index("wall")
    nodes = [
        helper.make_node("IsNaN", ["numbers"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numbers"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["weighted"]),
        helper.make_node("Gather", ["categories", "wall"], ["walls"], axis=1),
        helper.make_node(
            "LabelEncoder",
            ["walls"],
            ["effect"],
            domain="ai.onnx.ml",
            keys_strings=list(WALLS),
            values_floats=list(WALLS.values()),
            default_float=0.0,
        ),
        helper.make_node("Sum", ["weighted", "effect", "constant"], ["prediction"]),
    ]
    graph = helper.make_graph(
        nodes,
        "homes",
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, len(schema.numbers)]),
            helper.make_tensor_value_info("categories", TensorProto.STRING, [None, len(schema.categories)]),
        ],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, [len(weights), 1], [w for [w] in weights]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("wall", TensorProto.INT64, [1], [wall]),
            helper.make_tensor("constant", TensorProto.FLOAT, [1, 1], [constant]),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")
    (folder / "schema.json").write_text(schema.model_dump_json())
    return folder


class Releases:
    """Writes signed releases to a folder that stands for the registry's artefacts."""

    def __init__(self, folder: Path, signer: Ed25519Signer) -> None:
        self.folder = folder
        self.signer = signer

    def write(
        self,
        constant: float = 0.0,
        *,
        system: str = "homes",
        schema: RecordSchema = HOMES,
        task: str = "regression",
        threshold: float = 0.5,
        **served: object,
    ) -> Release:
        model = write_model(self.folder / "model", constant, schema)
        facts = FACTS | {"system": system, "task": task, "threshold": threshold} | served
        files = {name: model / name for name in ("model.onnx", "schema.json")}
        return write_release(files, facts, self.folder / "releases", self.signer)


@pytest.fixture
def signer(tmp_path) -> Ed25519Signer:
    return Ed25519Signer(tmp_path / "keys")


@pytest.fixture
def releases(tmp_path, signer) -> Releases:
    return Releases(tmp_path / "registry", signer)


@pytest.fixture
def store(tmp_path, signer) -> VerifiedReleaseStore:
    return VerifiedReleaseStore(tmp_path / "cache", signer)


@pytest.fixture
def ledger() -> LedgerSimulator:
    return LedgerSimulator()


def promote(ledger: Ledger, release: Release, version: str = "1", decision: str = "promote") -> Deployment:
    """Make a release live, as a flow would."""
    live = ledger.live(release.system)
    facts = {
        "id": 0,
        "system": release.system,
        "decided_at": NOON,
        "as_of": NOON,
        "actor": "ada",
        "decision": decision if live else "first-deployment",
        "release": release,
        "version": version,
        "previous": None,
        "evidence": {"why": "a test"},
    }
    return ledger.record(Deployment.model_validate(facts), expected=live.id if live else None)


class Service:
    """The service on a real socket, in a thread of this process."""

    def __init__(self, app: FastAPI, lane: type[asyncio.Protocol] = FastLane) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, http=lane, log_config=None, lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> httpx.Client:
        self._thread.start()
        eventually(lambda: self._server.started)
        self._client = httpx.Client(base_url=self.address)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition to hold; fail if it does not in time."""
    tick, end = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to hold in time"
        tick.wait(0.01)


def still_running(processes: Iterable[psutil.Process], seconds: float = 20.0) -> list[psutil.Process]:
    """Which processes have not ended in time.

    One that has ended is not waited for until its parent collects it: orphans become children of process 1,
    which in a container may take its time, or never do so.
    """
    tick, end = threading.Event(), time.monotonic() + seconds
    while (running := [each for each in processes if _runs(each)]) and time.monotonic() < end:
        tick.wait(0.01)
    return running


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


LANES = {"fast lane": FastLane, "long way": HttpToolsProtocol}
"""Every request of the suite goes by each of them, and is answered alike."""


@pytest.fixture(params=LANES.values(), ids=LANES)
def client(ledger, store, request) -> Iterator[httpx.Client]:
    """The service, following the ledger every 20 ms."""
    with Service(create_app(ledger, store, poll_seconds=0.02), request.param) as client:
        yield client
