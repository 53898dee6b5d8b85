"""The Open Inference Protocol: tensors by feature or packed, as JSON or binary, and a public client."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.rows import encode
from lifecycle.serving.exchange import Answers, Asked, Request
from lifecycle.serving.formats.inference_v2 import InferenceV2, model
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import ProblemError
from tests.serving.conftest import ANSWER, HOME, HOMES, eventually, promote
from tests.serving.test_serving_columns import FLATS
from tests.serving.test_serving_predict import open_release

V2 = InferenceV2()
PATH = "/v2/models/homes/infer"
DATATYPES = {
    "sold_on": "BYTES",
    "area": "FP64",
    "beds": "INT64",
    "garden": "BOOL",
    "wall": "BYTES",
    "depth": "FP32",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> LiveRelease:
    return open_release(tmp_path_factory.mktemp("live"))


def tensor(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [1], "datatype": DATATYPES[name], "data": [HOME[name]]} | changes


def tensors(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [tensor(name, **changes.get(name, {})) for name in DATATYPES]


def ask(content: Any, binary: bytes = b"", path: str = PATH) -> Request:
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = ((b"inference-header-content-length", str(len(head)).encode()),) if binary else ()
    return Request("POST", path, headers, head + binary, 0.0)


def read(live: LiveRelease, content: Any, binary: bytes = b"") -> Asked:
    return V2.read(live, ask(content, binary))


def refuse(live: LiveRelease, request: Request, status: int = 400) -> str:
    with pytest.raises(ProblemError) as caught:
        V2.read(live, request)
    reply = V2.refuse(caught.value)
    assert reply.status == status
    return json.loads(reply.body)["error"]


def answer(
    live: LiveRelease, content: Any, binary: bytes = b"", ids: list[str] | None = None
) -> dict[str, Any]:
    request = ask(content, binary)
    asked = V2.read(live, request)
    reply = V2.write(live, request, asked, Answers(live.engine.predict(asked.tensors), ids or ["p"]))
    return json.loads(reply.body)


def test_one_tensor_per_feature(live):
    assert answer(live, {"id": "42", "inputs": tensors()}) == {
        "model_name": "homes",
        "model_version": "1",
        "id": "42",
        "parameters": {"release": live.digest, "version": "1", "prediction_id": "p"},
        "outputs": [
            {"name": "prediction", "datatype": "FP64", "shape": [1], "data": [ANSWER]},
            {"name": "prediction_id", "datatype": "BYTES", "shape": [1], "data": ["p"]},
        ],
    }


def test_the_log_keeps_the_values_of_the_record(live):
    asked = read(
        live, {"inputs": [*tensors(), {"name": "home_id", "shape": [1], "datatype": "BYTES", "data": ["h1"]}]}
    )

    assert json.loads(asked.inputs) == {"columns": {name: [value] for name, value in HOME.items()}}
    assert asked.record_ids == ["h1"]
    assert (asked.shape, asked.single) == ("columns", False)


PACKED_NUMBERS = [9526.0, 1000.0, 3.0, 1.0, 50.0]
NUMBERS = {"name": "numbers", "shape": [1, 5], "datatype": "FP32", "data": PACKED_NUMBERS}
CATEGORIES = {"name": "categories", "shape": [1, 2], "datatype": "BYTES", "data": ["brick", ""]}


def test_the_two_packed_inputs_in_the_order_of_the_schema(live):
    assert HOMES.numbers == ("sold_on", "area", "beds", "garden", "depth")
    assert HOMES.categories == ("wall", "note")

    asked = read(live, {"inputs": [NUMBERS, CATEGORIES]})

    columns = {
        "sold_on": "1996-01-31",
        "area": 1000,
        "beds": 3,
        "garden": True,
        "depth": 50,
        "wall": "brick",
        "note": None,
    }
    assert json.loads(asked.inputs)["columns"] == {name: [value] for name, value in columns.items()}
    assert asked.tensors.numbers.tolist() == [PACKED_NUMBERS]
    assert asked.tensors.categories.tolist() == [["brick", ""]]


@pytest.fixture(scope="module")
def flats(tmp_path_factory) -> LiveRelease:
    return open_release(tmp_path_factory.mktemp("flats"), schema=FLATS)


@settings(max_examples=60)
@given(
    listed=st.datetimes().map(lambda t: t.replace(year=1900 + t.year % 250)) | st.none(),
    let_on=st.dates(),
    debt=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    steps=st.none() | st.integers(-(2**24), 2**24),
    garden=st.none() | st.booleans(),
    note=st.none() | st.just("quiet"),
)
def test_what_the_model_was_given_packed_comes_to_it_unchanged(
    flats, listed, let_on, debt, steps, garden, note
):
    columns = {
        "listed_at": [listed],
        "let_on": [let_on],
        "debt": [debt],
        "steps": [steps],
        "garden": [garden],
    }
    columns |= {
        "area": [7.5],
        "rooms": [3],
        "lift": [True],
        "wall": ["brick"],
        "postcode": ["1010"],
        "note": [note],
    }
    packed = encode(FLATS, columns, 1)
    words = [word.encode() for word in packed.categories[0]]
    binary = packed.numbers.tobytes() + b"".join(struct.pack("<I", len(word)) + word for word in words)
    sizes = (packed.numbers.nbytes, len(binary) - packed.numbers.nbytes)
    inputs = [
        {"name": name, "shape": list(shape), "datatype": datatype, "parameters": {"binary_data_size": size}}
        for name, shape, datatype, size in zip(
            ("categories", "numbers")[::-1],
            (packed.numbers.shape, packed.categories.shape),
            ("FP32", "BYTES"),
            sizes,
            strict=True,
        )
    ]

    asked = read(flats, {"inputs": inputs}, binary)

    np.testing.assert_array_equal(asked.tensors.numbers, packed.numbers)
    assert asked.tensors.categories.tolist() == packed.categories.tolist()


@pytest.mark.parametrize(
    ("name", "changes", "same_as"),
    [
        ("area", {"datatype": "FP32", "data": [1000]}, {}),
        ("area", {"datatype": "UINT16", "data": [1000]}, {}),
        ("area", {"shape": [1, 1], "data": [[1000.0]]}, {}),
        ("area", {"shape": [1, 1]}, {}),
        ("beds", {"datatype": "FP64", "data": [3.0]}, {}),
        ("garden", {"datatype": "UINT8", "data": [1]}, {}),
        ("depth", {"data": [None]}, {"depth": None}),
        ("sold_on", {"data": ["1996-01-31T00:00:00"]}, {}),
    ],
)
def test_a_feature_may_come_in_any_datatype_that_holds_it(live, name, changes, same_as):
    asked = read(live, {"inputs": tensors(**{name: changes})})
    plain = live.columns.read({n: [value] for n, value in (HOME | same_as).items()})

    np.testing.assert_array_equal(asked.tensors.numbers, plain.tensors.numbers)


BAD = {
    "not JSON": (b"{", "not an inference request"),
    "deep": (
        b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":' + b"[" * 10_000,
        "not an inference",
    ),
    "a list": ([], "not an inference request"),
    "no inputs": ({}, "not an inference request"),
    "empty inputs": ({"inputs": []}, "area is missing"),
    "unknown input": ({"inputs": [*tensors(), NUMBERS | {"name": "areas"}]}, "did you mean 'area'?"),
    "twice": ({"inputs": [*tensors(), *tensors()]}, "given twice"),
    "missing": ({"inputs": tensors()[1:]}, "sold_on is missing"),
    "negative shape": ({"inputs": tensors(area={"shape": [-1]})}, "has a shape that is none"),
    "no shape": ({"inputs": tensors(area={"shape": []})}, "has a shape that is none"),
    "huge shape": ({"inputs": tensors(area={"shape": [2**62, 2**62]})}, "as many values as its shape"),
    "many dimensions": ({"inputs": tensors(area={"shape": [1] * 50})}, "has a shape that is none"),
    "wide": ({"inputs": tensors(area={"shape": [1, 2], "data": [1, 2]})}, "the shape [n] or [n, 1]"),
    "mismatch": ({"inputs": tensors(area={"data": [1.0, 2.0]})}, "as many values as its shape says"),
    "ragged": (
        {"inputs": tensors(area={"shape": [2], "data": [500, 600]})},
        "area has 2 values where sold_on has 1",
    ),
    "no rows": (
        {"inputs": tensors(**{n: {"shape": [0], "data": []} for n in DATATYPES})},
        "at least one row",
    ),
    "unknown datatype": ({"inputs": tensors(area={"datatype": "BF16"})}, "has none of the datatypes"),
    "text as number": ({"inputs": tensors(area={"data": ["1000"]})}, "not of its datatype"),
    "text for a number": (
        {"inputs": tensors(area={"datatype": "BYTES", "data": ["1000"]})},
        "datatype for numbers",
    ),
    "number for text": (
        {"inputs": tensors(wall={"datatype": "INT8", "data": [1]})},
        "should be of datatype BYTES",
    ),
    "number for a date": (
        {"inputs": tensors(sold_on={"datatype": "INT64", "data": [1]})},
        "of datatype BYTES",
    ),
    "too large for its type": ({"inputs": tensors(beds={"datatype": "INT8", "data": [300]})}, "cannot hold"),
    "a fraction as integer": ({"inputs": tensors(beds={"data": [2.5]})}, "not of its datatype"),
    "a bool as integer": ({"inputs": tensors(beds={"data": [True]})}, "not of its datatype"),
    "null as integer": ({"inputs": tensors(beds={"data": [None]})}, "not of its datatype"),
    "null as text": ({"inputs": tensors(wall={"data": [None]})}, "should hold text"),
    "out of bounds": ({"inputs": tensors(area={"data": [5]})}, "area should be greater than or equal to 100"),
    "NaN where needed": ({"inputs": tensors(area={"data": [None]})}, "area should be a finite number"),
    "beyond": (
        {"inputs": tensors(depth={"datatype": "FP64", "data": [1e39]})},
        "beyond what the model can represent",
    ),
    "beyond its own type": ({"inputs": tensors(depth={"data": [1e39]})}, "depth should be a finite number"),
    "shared memory": (
        {"inputs": tensors(area={"parameters": {"shared_memory_region": "x"}})},
        "shared memory",
    ),
    "both ways": ({"inputs": tensors(area={"parameters": {"binary_data_size": 8}})}, "both data and binary"),
    "no length": ({"inputs": tensors(area={"parameters": {"binary_data_size": -8}})}, "not a length"),
    "unknown output": (
        {"inputs": tensors(), "outputs": [{"name": "decision"}]},
        "not one of prediction, prediction_id",
    ),
    "top classes": (
        {"inputs": tensors(), "outputs": [{"name": "prediction", "parameters": {"classification": 3}}]},
        "not done here",
    ),
    "no flag": ({"inputs": tensors(), "parameters": {"binary_data_output": "yes"}}, "true or false"),
    "packed alone": ({"inputs": [NUMBERS]}, "input 'categories' is missing, shape [n, 2]"),
    "packed, wrong width": ({"inputs": [NUMBERS | {"shape": [5, 1]}, CATEGORIES]}, "the shape [n, 5]"),
    "packed, wrong type": (
        {"inputs": [NUMBERS | {"datatype": "INT64", "data": [1] * 5}, CATEGORIES]},
        "FP32 or FP64",
    ),
    "packed and not": ({"inputs": [NUMBERS, CATEGORIES, tensor("area")]}, "in the packed inputs already"),
    "packed, half a bedroom": (
        {"inputs": [NUMBERS | {"data": [9526.0, 1000.0, 2.5, 1.0, 50.0]}, CATEGORIES]},
        "beds should be a valid integer",
    ),
    "packed, half a garden": (
        {"inputs": [NUMBERS | {"data": [9526.0, 1000.0, 2.0, 0.5, 50.0]}, CATEGORIES]},
        "garden should be a valid boolean",
    ),
    "packed, half a day": (
        {"inputs": [NUMBERS | {"data": [9526.5, 1000.0, 2.0, 0.0, 50.0]}, CATEGORIES]},
        "sold_on Datetimes provided to dates should have zero time",
    ),
    "packed, no such day": (
        {"inputs": [NUMBERS | {"data": [3e38, 1000.0, 2.0, 0.0, 50.0]}, CATEGORIES]},
        "sold_on should be a valid date",
    ),
    "packed, infinite": (
        {"inputs": [NUMBERS | {"data": [9526.0, 1e39, 2.0, 0.0, 50.0]}, CATEGORIES]},
        "area should be a finite number",
    ),
    "packed, no wall": (
        {"inputs": [NUMBERS, CATEGORIES | {"data": ["", ""]}]},
        "wall should be 'brick' or 'wood'",
    ),
}


@pytest.mark.parametrize(("content", "why"), BAD.values(), ids=BAD)
def test_a_bad_request_is_refused(live, content, why):
    assert why in refuse(live, ask(content))


def binary_inputs(**sizes: int) -> dict[str, Any]:
    binary = {name: {"parameters": {"binary_data_size": size}, "data": None} for name, size in sizes.items()}
    return {"inputs": tensors(**binary)}


AREA = struct.pack("<d", 1000.0)
WALL = struct.pack("<I", 5) + b"brick"


@pytest.mark.parametrize(
    ("sizes", "binary", "why"),
    [
        ({"area": 8}, AREA[:7], "shorter than the inputs announce"),
        ({"area": 8}, AREA + b"x", "longer than the inputs announce"),
        ({"area": 4}, AREA[:4], "as many bytes as its shape and datatype say"),
        ({"wall": 9}, struct.pack("<I", 500) + b"brick", "ends in the middle of a text"),
        ({"wall": 10}, WALL + b"x", "more bytes than its shape says"),
        ({"wall": 3}, WALL[:3], "as many bytes as its shape and datatype say"),
        ({"wall": 9}, struct.pack("<I", 5) + b"\xff\xfe\xfdab", "text in UTF-8"),
        ({"area": 2**62}, AREA, "shorter than the inputs announce"),
    ],
)
def test_binary_data_that_is_not_what_it_announces_is_refused(live, sizes, binary, why):
    assert why in refuse(live, ask(binary_inputs(**sizes), binary))


def test_binary_data_is_read_in_the_order_of_the_inputs(live):
    asked = read(live, binary_inputs(area=8, wall=9), AREA + WALL)
    plain = read(live, {"inputs": tensors()})

    np.testing.assert_array_equal(asked.tensors.numbers, plain.tensors.numbers)
    assert asked.tensors.categories.tolist() == [["brick", ""]]


@pytest.mark.parametrize("length", [b"-1", b"x", b"999999", b"1" * 30, b"\xb2"])
def test_a_header_length_that_is_none_is_refused(live, length):
    request = ask({"inputs": tensors()})
    request = Request("POST", PATH, ((b"inference-header-content-length", length),), request.body, 0.0)

    assert "Inference-Header-Content-Length" in refuse(live, request)


def test_outputs_are_those_asked_for(tmp_path):
    live = open_release(tmp_path, task="classification", threshold=float(ANSWER))
    content = answer(live, {"inputs": tensors(), "outputs": [{"name": "decision"}]})
    everything = answer(live, {"inputs": tensors()})

    assert content["outputs"] == [{"name": "decision", "datatype": "BOOL", "shape": [1], "data": [True]}]
    assert [output["name"] for output in everything["outputs"]] == ["prediction", "decision", "prediction_id"]
    assert "id" not in content


def test_only_the_version_that_is_live_answers(live):
    request = ask({"inputs": tensors()}, path="/v2/models/homes/versions/1/infer")
    assert len(V2.read(live, request).tensors) == 1

    other = ask({"inputs": tensors()}, path="/v2/models/homes/versions/2/infer")
    assert "version 1 is" in refuse(live, other, 404)


def test_another_content_type_is_refused(live):
    request = Request("POST", PATH, ((b"content-type", b"text/csv"),), b"", 0.0)

    assert "application/json" in refuse(live, request, 415)


@pytest.mark.parametrize("name", list(DATATYPES))
@pytest.mark.parametrize("value", ["s3cret", ["s3cret"], {"s3cret": 1}, -918273645.5])
def test_no_value_comes_back_in_an_error(live, name, value):
    try:
        read(live, {"inputs": tensors(**{name: {"data": [value]}})})
    except ProblemError as error:
        told = V2.refuse(error).body.decode()
        assert "s3cret" not in told
        assert "918273645" not in told


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ENTRIES = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*DATATYPES, "numbers", "categories", "x"]),
        "shape": st.lists(st.integers(-1, 3) | st.integers(), max_size=3),
        "datatype": st.sampled_from([*set(DATATYPES.values()), "UINT64", "FP16", "x"]),
    },
    optional={
        "data": st.lists(CELLS | st.lists(CELLS, max_size=2), max_size=3) | CELLS,
        "parameters": st.dictionaries(st.just("binary_data_size"), st.integers(-1, 20)),
    },
)


@settings(max_examples=100)
@given(inputs=st.lists(ENTRIES, max_size=4), extra=st.just([]) | CELLS, binary=st.binary(max_size=40))
def test_whatever_is_sent_is_answered_or_refused(live, inputs, extra, binary):
    try:
        status = 200 if read(live, {"inputs": inputs, "outputs": extra}, binary) else 0
    except ProblemError as error:
        status = V2.refuse(error).status
    assert status in (200, 400, 413)


def test_what_the_metadata_says_is_what_is_taken(flats):
    content = json.loads(model(flats, None).body)
    values = {"FP64": 1.0, "INT64": 1, "BOOL": True, "BYTES": ""}
    special = {"let_on": "2024-01-31", "wall": "brick", "postcode": "1010"}
    inputs = [
        {**entry, "shape": [1], "data": [special.get(entry["name"], values[entry["datatype"]])]}
        for entry in content["inputs"]
    ]

    assert len(read(flats, {"inputs": inputs}).tensors) == 1
    assert content["outputs"][0] == {"name": "prediction", "datatype": "FP64", "shape": [-1]}


def test_health_and_metadata_over_http(client, ledger, releases):
    assert client.get("/v2/health/live").status_code == 200
    promote(ledger, releases.write())
    eventually(lambda: client.get("/v2/models/homes/ready").is_success)

    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/homes/versions/1").json()["versions"] == ["1"]
    for path in ("/v2/models/homes/versions/2", "/v2/models/home", "/v2/models/homes/versions/2/ready"):
        assert client.get(path).status_code == 404
        assert client.get(path).json().keys() == {"error"}
    assert client.post("/v2/models/home/infer", json={"inputs": []}).status_code == 404
    assert client.post(PATH, content=b"{}", headers={"Content-Encoding": "gzip"}).json().keys() == {"error"}
