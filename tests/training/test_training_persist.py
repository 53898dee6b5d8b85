"""model.skops: what is loaded was reviewed, and what was reviewed is never asked of the file."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from lifecycle.core.errors import ConfigError
from lifecycle.core.record import schema_of
from lifecycle.training.frame import to_frame
from lifecycle.training.persist import dump_estimator, load_estimator
from lifecycle.training.trend import TrendRegressor
from tests.training.training_cases import Plain, make_rows


def halve(values):
    return values / 2


@pytest.fixture(scope="module")
def data():
    rows = make_rows(Plain)
    return to_frame(schema_of(Plain), rows.tensors), rows.label


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingRegressor(max_iter=5),
        RandomForestRegressor(5, random_state=0),
        TrendRegressor(HistGradientBoostingRegressor(max_iter=5), time="sold_on", random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_scikit_learn_user_gets_the_estimator_back(model, data, tmp_path):
    frame, label = data
    dump_estimator(model.fit(frame, label), tmp_path)
    loaded = load_estimator(tmp_path)
    assert type(loaded) is type(model)
    assert np.array_equal(loaded.predict(frame), model.predict(frame))


def test_the_same_estimator_gives_the_same_bytes(data, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        model = RandomForestRegressor(5, random_state=0).fit(*data)
        dump_estimator(model, tmp_path / name)
    first, second = ((tmp_path / name / "model.skops").read_bytes() for name in ("first", "second"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "first" / "model.skops") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_a_type_that_nobody_reviewed_is_named(data, tmp_path):
    model = make_pipeline(FunctionTransformer(halve), Ridge()).fit(*data)
    named = f"{halve.__module__}.halve"
    with pytest.raises(ConfigError, match="types that nobody reviewed") as caught:
        dump_estimator(model, tmp_path)
    assert f"trusted_types=('{named}',)" in caught.value.hint
    assert not (tmp_path / "model.skops").exists()

    dump_estimator(model, tmp_path, trusted=(named,))
    with pytest.raises(ConfigError, match="types that nobody reviewed"):
        load_estimator(tmp_path)
    assert np.allclose(load_estimator(tmp_path, (named,)).predict(data[0]), model.predict(data[0]))


def test_what_cannot_be_stored_is_refused(data, tmp_path):
    model = Ridge().fit(*data)
    model.kept_open_ = (line for line in ())
    with pytest.raises(ConfigError, match="Ridge holds something that skops cannot store"):
        dump_estimator(model, tmp_path)
