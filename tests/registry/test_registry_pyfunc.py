"""A registered version answers ``mlflow.pyfunc`` with the endpoint's numbers, or refuses."""

from __future__ import annotations

import json
import shutil
import warnings
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import IntegrityError, SourceError
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import encode_records
from lifecycle.core.synthetic import synthetic_records
from lifecycle.mlflow_loader import _load_pyfunc
from lifecycle.registry.packaging import example_of, signature_of
from lifecycle.serving.engine import load_engine
from tests.registry.conftest import SCHEMA, SYSTEM, train

with warnings.catch_warnings():
    # On import, MLflow warns of its own type hints.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import Model
    from mlflow.pyfunc.scoring_server import _split_data_and_params, infer_and_parse_data

FEATURES = [spec.name for spec in SCHEMA.features]


@pytest.fixture(autouse=True)
def _in_the_project(published, monkeypatch):
    """A person works in the project's folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", published.settings.tracking)
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(published.settings.project))


@pytest.fixture
def champion():
    return mlflow.pyfunc.load_model(f"models:/{SYSTEM}@champion")


@pytest.fixture
def stored(published, tmp_path) -> Path:
    """A copy of the registered version's folder, to do harm to; its release."""
    return shutil.copytree(published.folder.parent, tmp_path / "version") / "release"


def answers(published, records) -> np.ndarray:
    """What the endpoint computes."""
    return load_engine(published.folder).predict(encode_records(SCHEMA, records))


def test_the_champion_answers_exactly_the_engines_numbers(champion, published):
    records = synthetic_records(SCHEMA, 200)
    assert any(record["rooms"] is None for record in records)

    # Times without an offset, which pandas and MLflow want, are UTC.
    rows = [
        {k: v.replace(tzinfo=None) if k == "listed_at" and v else v for k, v in r.items()} for r in records
    ]
    found = champion.predict(pd.DataFrame(rows).astype({"rooms": float}))

    assert found.dtype == np.float64
    assert found.tolist() == answers(published, records).tolist()


def test_optional_columns_may_be_left_out(champion, published):
    record = {"let_on": date(2024, 1, 2), "area": 50.5, "floor": 3, "lift": True, "heating": "district"}

    found = champion.predict(pd.DataFrame([record]))

    assert found.tolist() == answers(published, [record]).tolist()
    assert found.tolist() == [500 + 19724 + 50.5 + 3 + 1 + 100]


def test_the_json_that_mlflow_serves_gets_the_same_answer(champion, published):
    """What ``mlflow models serve`` does with a request body, with the example stored beside the model."""
    body = json.loads((published.folder.parent / "serving_input_example.json").read_text())
    data, _ = _split_data_and_params(json.dumps(body))

    found = champion.predict(infer_and_parse_data(data, champion.metadata.get_input_schema()))

    given = dict(zip(body["dataframe_split"]["columns"], body["dataframe_split"]["data"][0], strict=True))
    record = SCHEMA.request_model().model_validate(given).model_dump()
    assert found.tolist() == answers(published, [record]).tolist()


def test_the_example_is_made_up_and_valid(published):
    model = Model.load(str(published.folder.parent))
    example = model.load_input_example(str(published.folder.parent))

    assert example.columns.tolist() == FEATURES
    SCHEMA.request_model().model_validate(example_of(SCHEMA))


def test_the_signature_is_the_records(published):
    signature = signature_of(SCHEMA)
    types = {column.name: (column.type.name, column.required) for column in signature.inputs}

    assert types == {
        "let_on": ("datetime", True),
        "listed_at": ("datetime", False),
        "area": ("double", True),
        "floor": ("long", True),
        "rooms": ("double", False),
        "lift": ("boolean", True),
        "heating": ("string", True),
        "street": ("string", False),
    }
    assert Model.load(str(published.folder.parent)).signature == signature


def test_a_record_whose_pattern_cannot_be_made_up_has_no_example():
    postcode = FieldSpec(name="postcode", kind="text", feature=True, pattern=r"^\d{5}$")

    assert example_of(RecordSchema(name="Flat", fields=(*SCHEMA.fields, postcode))) is None


def test_a_value_out_of_its_bounds_is_refused_as_at_the_endpoint_without_showing_it(champion):
    record = {"let_on": date(2024, 1, 2), "area": 50.5, "floor": 77, "lift": True, "heating": "district"}

    with pytest.raises(SourceError) as refused:
        champion.predict(pd.DataFrame([record | {"floor": 1}, record]))

    assert "row 1" in refused.value.message
    assert "floor: Input should be less than or equal to 50" in refused.value.message
    assert "77" not in str(refused.value)


@pytest.mark.parametrize("name", ["model.onnx", "schema.json", "manifest.json", "manifest.sig"])
def test_a_changed_release_is_not_loaded(stored, name):
    path = stored / name
    path.write_bytes(path.read_bytes()[:-2] + b"!!")

    with pytest.raises(IntegrityError):
        _load_pyfunc(str(stored))


def test_another_signed_release_in_its_place_is_not_loaded(stored, settings):
    other = Path(urlsplit(train(settings, 900).release.uri).path)
    for path in other.iterdir():
        (stored / path.name).write_bytes(path.read_bytes())

    with pytest.raises(IntegrityError, match="the manifest's digest is"):
        _load_pyfunc(str(stored))


def test_a_version_that_does_not_name_its_release_is_not_loaded(stored):
    (stored.parent / "MLmodel").write_text("flavors: {}")

    with pytest.raises(IntegrityError, match="does not name its release"):
        _load_pyfunc(str(stored))


def test_without_the_trusted_key_nothing_is_loaded(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(tmp_path / "another"))

    with pytest.raises(IntegrityError, match="not trusted"):
        _load_pyfunc(str(stored))


def test_aware_times_are_moved_to_utc(published):
    record = {"let_on": date(2024, 1, 2), "area": 50.5, "floor": 3, "lift": True, "heating": "gas"}
    vienna = pd.Timestamp("2024-01-02T13:00:00+01:00")

    found = _load_pyfunc(str(published.folder)).predict(pd.DataFrame([record | {"listed_at": vienna}]))

    noon = datetime(2024, 1, 2, 12, tzinfo=UTC)
    assert found.tolist() == answers(published, [record | {"listed_at": noon}]).tolist()
