"""MLflow's own scoring server and ours over one release: what a client sees is the same."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import warnings
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
import pandas as pd
import pytest
from annotated_types import Ge, Le, MaxLen

from lifecycle.core.record import Record, RecordSchema, schema_of
from lifecycle.core.release import MANIFEST, Manifest, read_schema
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.settings import Settings
from lifecycle.records.signing import Ed25519Signer
from lifecycle.registry.packaging import write_model_folder
from lifecycle.serving.engine import load_engine
from lifecycle.serving.exchange import Answers, Reply, Request
from lifecycle.serving.formats.mlflow import PROTOCOL_VERSION, MlflowScoring
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import ProblemError
from tests.serving.conftest import ANSWER, HOME, Releases, eventually, promote
from tests.simulators.ledger import LedgerSimulator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Constructing a DataFrame from a list of sequences with mismatched"),
]


class Flat(Record):
    """A field of every kind; each date and number weighs in the answer."""

    flat_id: Annotated[int, RecordId()]
    let_on: Annotated[date, EventTime(), Feature()]
    listed_at: Annotated[datetime | None, Feature()] = None
    size: Annotated[float, Feature(), Ge(10), Le(500)]
    debt: Annotated[float | None, Feature()] = None
    rooms: Annotated[int, Feature(), Ge(0), Le(20)]
    steps: Annotated[int | None, Feature()] = None
    lift: Annotated[bool, Feature()]
    wall: Annotated[Literal["brick", "wood"], Feature()]
    note: Annotated[str | None, Feature(), MaxLen(8)] = None
    rent: Annotated[float, Label(delay=timedelta(days=30))]


FLAT = {
    "let_on": "2024-01-31",
    "listed_at": "2024-01-02T03:04:05",
    "size": 70.5,
    "debt": 12.25,
    "rooms": 3,
    "steps": 40,
    "lift": True,
    "wall": "brick",
    "note": "quiet",
}
BARE = {name: value for name, value in FLAT.items() if name not in ("listed_at", "debt", "steps", "note")}


class Pair:
    """One release behind MLflow's own server, and behind our format."""

    def __init__(self, root: Path, schema: RecordSchema, **facts: Any) -> None:
        from mlflow import pyfunc
        from mlflow.pyfunc import scoring_server

        release = Releases(root / "registry", Ed25519Signer(Settings().keys)).write(schema=schema, **facts)
        folder = root / "version"
        folder.mkdir()
        write_model_folder(folder, schema, release, run_id="r", model_id="m-1")
        home = Path(shutil.copytree(urlsplit(release.uri).path, folder / "release"))
        self._theirs = scoring_server.init(pyfunc.load_model(str(folder)))
        manifest = Manifest.model_validate_json((home / MANIFEST).read_bytes())
        deployment = promote(LedgerSimulator(), release)
        self.live = LiveRelease(deployment, manifest, read_schema(home), load_engine(home))

    def ask_theirs(self, body: bytes, media_type: str) -> httpx.Response:
        return self.theirs("POST", "/invocations", content=body, headers={"Content-Type": media_type})

    def theirs(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._theirs)
            async with httpx.AsyncClient(transport=transport, base_url="http://mlflow") as client:
                return await client.request(method, path, **request)

        return asyncio.run(ask())

    def ask_ours(self, body: bytes, media_type: str) -> Reply:
        scoring = MlflowScoring()
        request = Request("POST", "", ((b"content-type", media_type.encode()),), body, 0.0)
        try:
            asked = scoring.read(self.live, request)
            answers = Answers(self.live.engine.predict(asked.tensors), [])
            return scoring.write(self.live, request, asked, answers)
        except ProblemError as problem:
            return scoring.refuse(problem)


@pytest.fixture(scope="module", autouse=True)
def _project(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LIFECYCLE_PROJECT", str(tmp_path_factory.mktemp("project")))
    patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")  # MLflow sets it, and would leave it behind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import, MLflow warns of its own type hints
        import mlflow.pyfunc.scoring_server  # noqa: F401
    yield
    patch.undo()


@pytest.fixture(scope="module")
def pair(_project, tmp_path_factory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"), schema_of(Flat))


def split(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(name) for name in names] for row in rows]
    return {"dataframe_split": {"columns": names, "data": data, **more}}


def columns(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def csv(**changes: str) -> bytes:
    """A row without dates, which MLflow cannot read from CSV."""
    fields = {
        "size": "70.5",
        "rooms": "3",
        "lift": "True",
        "wall": "brick",
        "note": "",
        "debt": "12.25",
    } | changes
    return f"{','.join(fields)}\n{','.join(fields.values())}\n".encode()


def one(form: str, **changes: Any) -> dict[str, Any]:
    row = FLAT | changes
    return split(row) if form == "split" else {form: [row]}


OTHER = FLAT | {"let_on": "1999-12-31", "rooms": 0, "wall": "wood", "lift": False}
ALIKE: dict[str, Any] = {
    "split": split(FLAT, OTHER),
    "split with an index": split(FLAT, OTHER, index=[5, "x"]),
    "split, short row": {
        "dataframe_split": {"columns": list(FLAT), "data": [[*FLAT.values()], [*FLAT.values()][:-1]]}
    },
    "split, optional columns left out": split(BARE),
    "records": {"dataframe_records": [FLAT, OTHER]},
    "records, an optional value left out": {"dataframe_records": [FLAT, BARE]},
    "instances, records": {"instances": [FLAT, OTHER]},
    "instances, columns": {"instances": columns(FLAT, OTHER)},
    "instances, one record": {"instances": FLAT},
    "inputs, records": {"inputs": [FLAT, BARE]},
    "inputs, columns": {"inputs": columns(FLAT, OTHER)},
    "inputs, one record": {"inputs": FLAT},
    "split, a compact date": one("split", let_on="19991231"),
    "other columns": split(FLAT | {"foo": [1], "flat_id": "no integer"}),
    "no rows": {"dataframe_split": {"columns": list(FLAT), "data": []}},
    "columns of no rows": {"inputs": {name: [] for name in FLAT}},
    "params": {**split(FLAT), "params": {"x": 1}},
    "params that are none": {**split(FLAT), "params": 5, "foo": 1},
    # What is refused.
    "not JSON": b"{",
    "nothing": b"",
    "not UTF-8": b'{"inputs": "\xff"}',
    "a list": [],
    "a number": 5,
    "no known key": {"a": 1},
    "two known keys": {"inputs": [FLAT], "instances": [FLAT]},
    "a column missing": split({name: value for name, value in FLAT.items() if name != "size"}),
    "split, long row": {"dataframe_split": {"columns": list(FLAT), "data": [[*FLAT.values(), 1]]}},
    "split, wrong index": split(FLAT, OTHER, index=[1]),
    "split, other keys": split(FLAT, foo=1),
    "split, no data": {"dataframe_split": {"columns": ["a"]}},
    "split, a list": {"dataframe_split": []},
    "split, null": {"dataframe_split": None},
    "records, a dictionary": {"dataframe_records": {}},
    "no records": {"dataframe_records": []},
    "no instances": {"instances": []},
    "no inputs": {"inputs": {}},
    "ragged columns": {"inputs": {**columns(FLAT), "size": [1.0, 2.0]}},
    "rows without names": {"instances": [list(FLAT.values())]},
    "text": {"inputs": "x"},
    **{
        f"{form}, {name} {value!r}": one(form, **{name: value})
        for form in ("split", "inputs", "instances")
        for name, value in [
            ("size", 70),
            ("size", "70.5"),
            ("size", "many"),
            ("size", True),
            ("size", 501),
            ("size", None),
            ("size", math.nan),
            ("size", math.inf),
            ("debt", None),
            ("debt", math.nan),
            ("debt", -3),
            ("debt", 1e39),
            ("rooms", 3.0),
            ("rooms", "3"),
            ("rooms", True),
            ("rooms", None),
            ("rooms", 21),
            ("steps", None),
            ("steps", 2.5),
            ("lift", 0),
            ("lift", 1.0),
            ("lift", "true"),
            ("wall", "straw"),
            ("wall", 5),
            ("wall", None),
            ("note", 5),
            ("note", 5.5),
            ("note", True),
            ("note", ""),
            ("note", "much too long"),
            ("note", ["a"]),
            ("let_on", "1999-12-31T00:00:00"),
            ("let_on", "1999-12-31T23:59:59"),
            ("let_on", "1999-12-31 23:59"),
            ("let_on", 946_598_400_000_000_000),
            ("let_on", 946_598_400),
            ("let_on", None),
            ("let_on", "never"),
            ("listed_at", "2001-02-03"),
            ("listed_at", "2001-02-03T04:05:06.789"),
            ("listed_at", 981_173_106_000_000_000),
            ("listed_at", None),
        ]
    },
}
MEDIA_TYPES = {
    "application/json; charset=utf-8": 200,
    "application/json;charset=UTF-8": 200,
    "application/json; charset=latin-1": 415,
    "application/json; profile=x": 415,
    "text/plain": 415,
    "application/x-www-form-urlencoded": 415,
}
BETTER: dict[str, tuple[Any, str]] = {
    "a fraction of a room is cut off by MLflow": (one("split", rooms=2.5), "rooms should be a valid integer"),
    "no lift or some is a lift in MLflow": (one("split", lift=2), "lift should be a valid boolean"),
    "a lift that is not known is none in MLflow": (
        one("inputs", lift=None),
        "lift should be a valid boolean",
    ),
    "a day or a month first": (one("split", let_on="01/02/1996"), "let_on should be a date or a time"),
    "true is a nanosecond in MLflow": (one("inputs", let_on=True), "let_on should be a date or a time"),
}


@pytest.mark.parametrize("body", ALIKE.values(), ids=ALIKE)
def test_status_and_content_are_those_of_mlflow(pair, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    theirs = pair.ask_theirs(content, "application/json")
    ours = pair.ask_ours(content, "application/json")

    assert ours.status == theirs.status_code
    assert ours.media_type.decode() == theirs.headers["content-type"]
    if theirs.is_success:
        assert json.loads(ours.body) == theirs.json()
    else:
        said = json.loads(ours.body)
        assert said["message"]
        assert {"error_code", "message", "sqlstate", "error_class"} <= theirs.json().keys()
        assert said.keys() == {"error_code", "message", "sqlstate", "error_class"}


@pytest.mark.parametrize(("media_type", "status"), MEDIA_TYPES.items())
def test_media_types_are_those_of_mlflow(pair, media_type, status):
    body = json.dumps(split(FLAT)).encode()
    theirs, ours = pair.ask_theirs(body, media_type), pair.ask_ours(body, media_type)

    assert ours.status == theirs.status_code == status
    assert ours.media_type.decode() == theirs.headers["content-type"]


@pytest.mark.parametrize(
    "code", ["a column missing", "ragged columns", "no inputs", "not JSON", "two known keys"]
)
def test_error_codes_are_those_of_mlflow(pair, code):
    body = ALIKE[code] if isinstance(ALIKE[code], bytes) else json.dumps(ALIKE[code]).encode()
    theirs = pair.ask_theirs(body, "application/json").json()
    ours = json.loads(pair.ask_ours(body, "application/json").body)

    for name in ("error_code", "sqlstate", "error_class"):
        assert ours[name] == theirs[name]


@pytest.mark.parametrize(("body", "why"), BETTER.values(), ids=BETTER)
def test_where_mlflow_would_answer_to_something_else_than_was_sent_we_refuse(pair, body, why):
    content = json.dumps(body).encode()
    ours = pair.ask_ours(content, "application/json")

    assert pair.ask_theirs(content, "application/json").status_code == 200
    assert ours.status == 400
    assert why in json.loads(ours.body)["message"]


@pytest.fixture(scope="module")
def undated(_project, tmp_path_factory) -> Pair:
    schema = schema_of(Flat)
    features = [
        spec.model_copy(update={"feature": spec.feature and spec.kind not in ("date", "datetime")})
        for spec in schema.fields
    ]
    return Pair(
        tmp_path_factory.mktemp("undated"),
        RecordSchema(name="Flat", fields=tuple(features)),
        task="classification",
    )


CSV = {
    "plain": csv(),
    "missing values": csv(debt="", note="NA"),
    "an integer": csv(size="70"),
    "an exponent": csv(size="7e1"),
    "in lower case": csv(lift="false"),
    "quoted": csv(note='"a,""b"""'),
    "digits are text": csv(note="0123"),
    "written with its index": b",size,rooms,lift,wall\n0,70.5,3,True,brick\n1,11,0,False,wood\n",
    "windows": csv().replace(b"\n", b"\r\n"),
    "blank lines": csv() + b"\n\n",
    "only a header": csv().split(b"\n")[0] + b"\n",
    "a byte order mark": b"\xef\xbb\xbf" + csv(),
    # Refused.
    "nothing": b"",
    "no UTF-8": csv(note="\xe9").replace(b"\xc3\xa9", b"\xe9"),
    "out of bounds": csv(size="5"),
    "no number": csv(size="many"),
    "a long row": csv() + b"1,2,3,4,5,6,7,8\n",
    "a column missing": csv().replace(b"size", b"area"),
    "a required value missing": csv(rooms=""),
}


@pytest.mark.parametrize("body", CSV.values(), ids=CSV)
def test_csv_is_read_as_mlflow_reads_it(undated, body):
    theirs, ours = undated.ask_theirs(body, "text/csv"), undated.ask_ours(body, "text/csv")

    assert ours.status == theirs.status_code
    if theirs.is_success:
        assert json.loads(ours.body) == theirs.json()


def test_a_classification_answers_probabilities(undated):
    body = json.dumps(split(BARE)).encode()

    assert json.loads(undated.ask_ours(body, "application/json").body) == {"predictions": [70.5 + 3 + 1 + 10]}
    assert undated.ask_theirs(body, "application/json").json() == {"predictions": [70.5 + 3 + 1 + 10]}


def test_the_version_is_the_one_that_is_followed(pair):
    import mlflow

    assert mlflow.__version__ == PROTOCOL_VERSION
    assert pair.theirs("GET", "/version").text == PROTOCOL_VERSION


def test_mlflows_own_client_works_unchanged(client, ledger, releases):
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    promote(ledger, releases.write())
    eventually(lambda: client.get("/v1/homes").is_success)
    server = ScoringServerClient(client.base_url.host, client.base_url.port)
    frame = pd.DataFrame([HOME, HOME | {"depth": None}], index=[7, 9]).assign(
        sold_on=pd.Timestamp("1996-01-31")
    )

    server.ping()
    assert server.get_version() == PROTOCOL_VERSION
    answer = server.invoke(frame, params={"temperature": 1})
    assert answer.get_predictions()[0].tolist() == [ANSWER, ANSWER - 50]
    with pytest.raises(Exception, match="instance 0, area should be greater than or equal to 100"):
        server.invoke(frame.assign(area=5.0))
