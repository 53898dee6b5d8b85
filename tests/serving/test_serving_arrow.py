"""Arrow bodies: what common writers write is read, and what is made to do harm is refused."""

from __future__ import annotations

import io
import json
import struct
import sys
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.serving.exchange import Answers, Asked, Request
from lifecycle.serving.formats.arrow import FILE, STREAM, Arrow
from lifecycle.serving.formats.arrow_messages import MAX_BATCHES
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import ProblemError
from tests.serving.conftest import ANSWER, eventually, promote
from tests.serving.test_serving_predict import open_release

ARROW = Arrow()
ROWS = {
    "home_id": ["h1", None],
    "sold_on": [date(1996, 1, 31), date(2024, 2, 29)],
    "area": [1000.0, 250.5],
    "beds": [3, 0],
    "garden": [True, False],
    "wall": ["brick", "wood"],
    "depth": [50.0, None],
    "note": [None, "quiet"],
}
TABLE = pa.table(ROWS)
MIDNIGHTS = [datetime(1996, 1, 31), datetime(2024, 2, 29)]


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> LiveRelease:
    return open_release(tmp_path_factory.mktemp("live"))


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def file(table: pa.Table, rows: int | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def ask(body: bytes, media_type: bytes = STREAM, accept: bytes = b"") -> Request:
    return Request("POST", "", ((b"content-type", media_type), (b"accept", accept)), body, 0.0)


def read(live: LiveRelease, body: bytes, media_type: bytes = STREAM) -> Asked:
    return ARROW.read(live, ask(body, media_type))


def refuse(live: LiveRelease, body: bytes, status: int = 400, media_type: bytes = STREAM) -> str:
    with pytest.raises(ProblemError) as caught:
        read(live, body, media_type)
    assert caught.value.status == status
    return caught.value.problem.detail


def with_column(name: str, values: Any) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), name, values)


def polars_file(frame: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.write_ipc(sink)
    return sink.getvalue()


def polars_stream(frame: pl.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    return sink.getvalue()


FRAME = pl.DataFrame(ROWS).with_columns(pl.col("wall").cast(pl.Categorical))


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (stream(TABLE), STREAM),
        (file(TABLE), FILE),
        (file(TABLE, rows=1), FILE),
        (stream(TABLE, use_legacy_format=True), STREAM),
        (polars_stream(FRAME), STREAM),
        (polars_file(FRAME), FILE),
    ],
    ids=["stream", "file", "file of two batches", "before 0.15", "polars stream", "polars file"],
)
def test_what_common_writers_write_is_read(live, body, media_type):
    asked = read(live, body, media_type)

    records = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    assert json.loads(asked.inputs) == {
        "columns": {**ROWS, "sold_on": [day.isoformat() for day in ROWS["sold_on"]]}
    }
    expected = live.columns.read(ROWS)
    np.testing.assert_array_equal(asked.tensors.numbers, expected.tensors.numbers)
    assert asked.tensors.categories.tolist() == [[r["wall"], r["note"] or ""] for r in records]
    assert asked.record_ids == ["h1", None]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("area", pa.array([1000, 250], pa.int16())),
        ("area", pa.array([1000.0, 250.0], pa.float16())),
        ("area", pa.array([1000.0, 250.0], pa.float32())),
        ("beds", pa.array([3, 0], pa.uint64())),
        ("beds", pa.array([3.0, 0.0], pa.float64())),
        ("garden", pa.array([1, 0], pa.int8())),
        ("wall", pa.array(["brick", "wood"], pa.large_string())),
        ("wall", pa.array(["brick", "wood"], pa.string_view())),
        ("wall", pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array(["wood", "brick"]))),
        ("note", pa.DictionaryArray.from_arrays(pa.array([None, 0], pa.int8()), pa.array(["quiet"]))),
        ("note", pa.nulls(2)),
        ("depth", pa.nulls(2)),
        ("depth", pa.array([None, 1], pa.uint8())),
        ("sold_on", pa.array(["1996-01-31", "2024-02-29"])),
        ("sold_on", pa.array(ROWS["sold_on"], pa.date64())),
        ("sold_on", pa.array(MIDNIGHTS, pa.timestamp("s"))),
        ("sold_on", pa.array(MIDNIGHTS, pa.timestamp("ns", tz="UTC"))),
    ],
    ids=str,
)
def test_a_column_may_have_any_type_that_holds_its_values(live, name, values):
    plain = read(live, stream(with_column(name, pa.array(values.to_pylist()))))
    asked = read(live, stream(with_column(name, values)))

    np.testing.assert_array_equal(asked.tensors.numbers, plain.tensors.numbers)
    np.testing.assert_array_equal(asked.tensors.categories, plain.tensors.categories)


@pytest.mark.parametrize(
    ("name", "values", "detail"),
    [
        ("area", pa.array([1000.0, None]), "instance 1, area should be a valid number"),
        ("area", pa.array([1000.0, np.nan]), "instance 1, area should be a finite number"),
        ("depth", pa.array([np.nan, None]), "instance 0, depth should be a finite number"),
        (
            "depth",
            pa.array([1e39, 1.0]),
            "instance 0, depth is beyond what the model can represent (float32)",
        ),
        ("beds", pa.array([3.5, 1.0]), "instance 0, beds should be a valid integer"),
        ("wall", pa.array(["brick", "straw"]), "instance 1, wall should be 'brick' or 'wood'"),
        ("sold_on", pa.array([date(1996, 1, 1), None]), "instance 1, sold_on should be a valid date"),
        (
            "sold_on",
            pa.array([datetime(1996, 1, 1, 5)] * 2),
            "instance 0, sold_on Datetimes provided to dates",
        ),
        ("sold_on", pa.array([2**62] * 2, pa.timestamp("s")), "instance 0, sold_on should be a valid date"),
        ("sold_on", pa.array([2**30] * 2, pa.date32()), "instance 0, sold_on should be a valid date"),
        ("area", pa.array([[1.0], [2.0]]), "area has an Arrow type that is not taken"),
        ("note", pa.array([b"x", b"y"]), "note has an Arrow type that is not taken"),
    ],
)
def test_a_value_is_refused_as_in_json(live, name, values, detail):
    assert detail in refuse(live, stream(with_column(name, values)), 422)


def test_columns_are_named_when_they_are_wrong(live):
    assert "areas is not a field" in refuse(live, stream(TABLE.append_column("areas", TABLE["area"])), 422)
    assert "area is missing" in refuse(live, stream(TABLE.drop_columns("area")), 422)
    twice = pa.Table.from_arrays([*TABLE.columns, TABLE["area"]], [*TABLE.column_names, "area"])
    assert "area is given twice" in refuse(live, stream(twice), 422)


def test_a_body_without_rows_is_refused(live):
    assert "at least one row" in refuse(live, stream(TABLE.slice(0, 0)), 422)


def long_texts() -> bytes:
    """Ten thousand views of one text."""
    text = b"x" * 9_000
    views = struct.pack("<i4sii", len(text), text[:4], 0, 0) * MAX_INSTANCES
    column = pa.Array.from_buffers(
        pa.string_view(), MAX_INSTANCES, [None, pa.py_buffer(views), pa.py_buffer(text)]
    )
    return stream(pa.table({"note": column}))


def long_words() -> bytes:
    """Ten thousand times one word."""
    indices = pa.array(np.zeros(MAX_INSTANCES, np.int8))
    return stream(pa.table({"note": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 9_000]))}))


def growing_dictionary() -> bytes:
    words = ["a", "b"]
    parts = [pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(words[:n])) for n in (1, 2)]
    return stream(pa.table({"note": pa.chunked_array(parts)}), emit_dictionary_deltas=True)


def many_batches() -> bytes:
    batch = TABLE.to_batches()[0].slice(0, 0)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(MAX_BATCHES + 1):
            writer.write_batch(batch)
    return sink.getvalue()


def repeated_block() -> bytes:
    """A file whose footer names its one large batch sixty times."""
    table = pa.table({"area": np.arange(600.0)})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        for _ in range(60):
            writer.write_table(table.slice(0, 1))
        writer.write_table(table.slice(0, 150))
    body = bytearray(sink.getvalue())
    blocks = [at for at in range(len(body) - 24) if _is_block(body, at)]
    large = max(blocks, key=lambda at: struct.unpack_from("<q", body, at + 16))
    for at in blocks:
        body[at : at + 24] = body[large : large + 24]
    return bytes(body)


def _is_block(body: bytearray, at: int) -> bool:
    offset, metadata, content = struct.unpack_from("<qi4xq", body, at)
    if not (0 < offset < len(body) and 8 < metadata < len(body) and 0 < content < len(body)):
        return False
    return bytes(body[offset : offset + 8]) == b"\xff\xff\xff\xff" + struct.pack("<i", metadata - 8)


HOSTILE = {
    "nothing": (b"", "no"),
    "json": (b'{"columns": {}}', "ends early"),
    "cut": (stream(TABLE)[:700], "ends early"),
    "lz4": (stream(TABLE, compression="lz4"), "compressed"),
    "zstd": (stream(TABLE, compression="zstd"), "compressed"),
    "views of one long text": (long_texts(), "more than 32000000 characters"),
    "one long word": (long_words(), "more than 32000000 characters"),
    "dictionary that grows": (growing_dictionary(), "grows"),
    "many batches": (many_batches(), "more than 1000 batches"),
    "huge metadata": (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(64), "ends early"),
}


@pytest.mark.parametrize(("body", "why"), HOSTILE.values(), ids=HOSTILE)
def test_a_body_made_to_do_harm_is_refused(live, body, why):
    assert why in refuse(live, body) if body else refuse(live, body)


def test_a_file_whose_footer_names_one_part_again_and_again_is_refused(live):
    assert "names one part twice" in refuse(live, repeated_block(), 400, FILE)
    assert "ARROW1" in refuse(live, stream(TABLE), 400, FILE)
    assert "ends early" in refuse(live, b"ARROW1\0\0" + struct.pack("<i", 2**31 - 1) + b"ARROW1", 400, FILE)


@pytest.mark.parametrize("rows", [MAX_INSTANCES + 1, 2**40])
def test_rows_are_counted_before_anything_is_decoded(live, rows):
    body = stream(pa.table({"depth": pa.nulls(12_345)})).replace(
        struct.pack("<q", 12_345), struct.pack("<q", rows)
    )

    assert f"{rows} instances" in refuse(live, body, 413)


BODIES = [
    (stream(TABLE), STREAM),
    (file(TABLE), FILE),
    (polars_stream(FRAME), STREAM),
    (polars_file(FRAME), FILE),
]
WORDS = [b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x10\0\0\0"]


@given(
    body=st.sampled_from(BODIES),
    changes=st.lists(
        st.tuples(st.integers(0, 5000), st.sampled_from(WORDS) | st.binary(max_size=3)), max_size=4
    ),
    end=st.none() | st.integers(0, 5000),
)
def test_whatever_is_changed_in_a_body_it_is_read_or_refused(live, body, changes, end):
    content, media_type = bytearray(body[0]), body[1]
    for place, word in changes:
        at = place % len(content)
        content[at : at + len(word)] = word
    try:
        status, rows = 200, len(read(live, bytes(content[:end]), media_type).tensors)
    except ProblemError as problem:
        status, rows = int(problem.status), 1
    assert status in (200, 400, 413, 422)
    assert 1 <= rows <= MAX_INSTANCES


def test_another_content_type_is_refused(live):
    assert "application/vnd.apache.arrow.stream" in refuse(live, stream(TABLE), 415, b"application/x-arrow")


def test_without_pyarrow_the_server_says_what_to_install(live, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert 'pip install "lifecycle[arrow]"' in refuse(live, stream(TABLE), 415)


def answered(live: LiveRelease, accept: bytes, **columns: Any) -> Any:
    request = ask(stream(pa.table({**ROWS, **columns})), accept=accept)
    asked = ARROW.read(live, request)
    return ARROW.write(live, request, asked, Answers(live.engine.predict(asked.tensors), ["a-0", "a-1"]))


def test_the_answer_is_arrow_for_who_accepts_it(live):
    reply = answered(live, STREAM + b", application/json;q=0.5")
    table = pa.ipc.open_stream(reply.body).read_all()
    table.validate(full=True)

    assert reply.media_type == STREAM
    assert table.to_pydict() == {
        "prediction": [ANSWER, 2 * 250.5 + 20],
        "prediction_id": ["a-0", "a-1"],
        "record_id": ["h1", None],
    }
    assert table.schema.metadata == {b"system": b"homes", b"release": live.digest.encode(), b"version": b"1"}
    assert pa.ipc.open_file(answered(live, FILE).body).read_all() == table


def test_a_classification_has_its_decisions_in_arrow_too(tmp_path):
    live = open_release(tmp_path, task="classification", threshold=float(ANSWER))
    table = pa.ipc.open_stream(answered(live, STREAM, home_id=pa.nulls(2)).body).read_all()

    assert table["decision"].to_pylist() == [True, False]
    assert table.column_names == ["prediction", "decision", "prediction_id"]


@pytest.mark.parametrize("accept", [b"", b"*/*", b"application/json", STREAM + b";q=0", STREAM + b";q=x"])
def test_the_answer_is_json_for_everybody_else(live, accept):
    reply = answered(live, accept)

    assert reply.media_type == b"application/json"
    assert json.loads(reply.body)["predictions"] == [ANSWER, 521.0]


def test_ids_that_are_integers_come_back_as_such(live):
    reply = ARROW.write(
        live,
        ask(b"", accept=STREAM),
        Asked(live.columns.read(ROWS).tensors, False, [7, None], "columns", b""),
        Answers(np.zeros(2), ["a-0", "a-1"]),
    )
    assert pa.ipc.open_stream(reply.body).read_all()["record_id"].to_pylist() == [7, None]


def test_the_typed_endpoint_takes_arrow(client, ledger, releases):
    promote(ledger, releases.write())
    eventually(lambda: client.get("/v1/homes").is_success)
    headers = {"Content-Type": STREAM.decode(), "Accept": FILE.decode()}
    answer = client.post("/v1/homes/predict", content=stream(TABLE), headers=headers)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == FILE.decode()
    assert pa.ipc.open_file(answer.content).read_all()["prediction"].to_pylist()[0] == ANSWER


def test_moments_with_a_time_zone_are_utc(live):
    noon = datetime(1996, 1, 31, tzinfo=UTC)
    zoned = pa.array([noon, noon], pa.timestamp("us", tz="Europe/Vienna"))

    assert (
        json.loads(read(live, stream(with_column("sold_on", zoned))).inputs)["columns"]["sold_on"]
        == ["1996-01-31"] * 2
    )
