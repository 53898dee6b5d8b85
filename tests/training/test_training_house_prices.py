"""The reference system's own model, on real sales."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.params import load_params
from lifecycle.core.release import MODEL
from lifecycle.core.rows import Rows, encode
from lifecycle.serving.engine import load_engine
from lifecycle.serving.engine.bulk import LEAST_ROWS
from lifecycle.training.fit import train_model
from systems.house_prices import SYSTEM

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT).system("house-prices")


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    """Sales of all years, by time, with the names of the record's fields."""
    (source,) = PARAMS.sources
    table = pd.read_csv(ROOT / str(source.path)).rename(
        columns={old: new for new, old in source.columns.items()}
    )
    table["sold_on"] = pd.to_datetime(table["sold_on"].astype(str), format=source.formats["sold_on"]).dt.date
    return table.sort_values("sold_on", kind="stable", ignore_index=True)


def rows_of(table: pd.DataFrame) -> Rows:
    columns = {spec.name: table[spec.name].tolist() for spec in SYSTEM.schema.features}
    return Rows(
        ids=table.index.to_numpy().astype(str),
        event_time=pd.to_datetime(table["sold_on"]).to_numpy().astype("datetime64[us]"),
        tensors=encode(SYSTEM.schema, columns, len(table)),
        label=table["price"].to_numpy(dtype=np.float64),
        weight=np.ones(len(table)),
    )


def test_trained_on_real_sales_it_knows_next_months_market(sales, tmp_path):
    """Every fourth sale of 1995 to 1997 trains; the next spring is tested, beyond the last date it saw."""
    train = sales[(sales.sold_on >= date(1995, 1, 1)) & (sales.sold_on < date(1998, 1, 1))].iloc[::4]
    test = rows_of(sales[(sales.sold_on >= date(1998, 2, 1)) & (sales.sold_on < date(1998, 5, 1))])

    parity = train_model(SYSTEM, PARAMS, rows_of(train), tmp_path, load_engine).parity

    assert parity.worst_relative < 1e-5
    many = test.tensors.take(np.arange(LEAST_ROWS) % len(test.tensors))
    in_bulk, plain = (load_engine(tmp_path, bulk=bulk).predict(many) for bulk in (True, False))
    assert in_bulk.tobytes() == plain.tobytes()
    ratio = load_engine(tmp_path).predict(test.tensors) / test.label
    assert np.median(np.abs(ratio - 1)) < 0.15
    assert 0.93 < np.median(ratio) < 1.07
    assert (tmp_path / MODEL).stat().st_size < 2_000_000
