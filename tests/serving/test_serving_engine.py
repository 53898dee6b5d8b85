"""The model answers the same numbers however it is asked, or it does not load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import IntegrityError
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import Tensors, encode_records
from lifecycle.core.synthetic import synthetic_records
from lifecycle.serving.engine import load_engine
from tests.serving.conftest import ANSWER, HOMES, write_model

ROWS = 500


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return load_engine(write_model(tmp_path_factory.mktemp("model"), constant=0.1))


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return encode_records(HOMES, synthetic_records(HOMES, ROWS))


def test_answers_the_weighted_sum(tmp_path):
    home = {"sold_on": None, "area": 1000.0, "beds": 3, "garden": True, "wall": "brick", "depth": 50.0}
    answers = load_engine(write_model(tmp_path, constant=0)).predict(encode_records(HOMES, [home]))
    assert answers.tolist() == [ANSWER]
    assert answers.dtype == np.float64


def test_no_rows_have_no_answers(engine, tensors):
    assert engine.predict(tensors.take(slice(0))).shape == (0,)


@given(start=st.integers(0, ROWS - 1), rows=st.integers(1, 70))
def test_an_answer_does_not_depend_on_the_rows_beside_it(engine, tensors, start, rows):
    together = engine.predict(tensors)[start : start + rows]
    assert engine.predict(tensors.take(slice(start, start + rows))).tolist() == together.tolist()


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_a_broken_model_does_not_load(tmp_path, content):
    model = write_model(tmp_path, constant=0) / "model.onnx"
    if content is None:
        model.unlink()
    else:
        model.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.onnx .* does not load"):
        load_engine(tmp_path)


def test_a_model_without_its_schema_does_not_load(tmp_path):
    (write_model(tmp_path, constant=0) / "schema.json").unlink()
    with pytest.raises(IntegrityError, match=r"schema\.json .* is missing"):
        load_engine(tmp_path)


def test_a_model_of_another_schema_does_not_load(tmp_path):
    fields = tuple(spec for spec in HOMES.fields if spec.kind != "text" or spec.record_id)
    numbers_only = RecordSchema(name="Home", fields=fields)
    (write_model(tmp_path, constant=0) / "schema.json").write_text(numbers_only.model_dump_json())
    with pytest.raises(IntegrityError, match=r"inputs \['categories', 'numbers'\].*gives \['numbers'\]"):
        load_engine(tmp_path)


def test_a_model_of_more_numbers_than_the_schema_does_not_load(tmp_path):
    wider = HOMES.model_copy(
        update={"fields": (*HOMES.fields, FieldSpec(name="extra", kind="number", feature=True))}
    )
    wider = RecordSchema.model_validate_json(wider.model_dump_json())
    (write_model(tmp_path, constant=0) / "schema.json").write_text(wider.model_dump_json())
    with pytest.raises(IntegrityError, match="does not load: InvalidArgument"):
        load_engine(tmp_path)
