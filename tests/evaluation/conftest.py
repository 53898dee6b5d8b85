"""Rows, systems and answers that the evaluation tests share."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lifecycle.core.rows import Rows, Tensors, encode

HOUSES = Path(__file__).parents[2] / "systems" / "house_prices" / "lucas_house.csv.gz"


@pytest.fixture(scope="session", autouse=True)
def _matplotlib_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Matplotlib writes its font cache where it is told, never into a home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        yield


def make_rows(days: np.ndarray, label: np.ndarray, category: np.ndarray | None = None) -> Rows:
    """Rows that happened on these days (floats are parts of days) since 1996-01-01."""
    count = len(label)
    categories = np.empty((count, 1), dtype=object)
    categories[:, 0] = category if category is not None else ["brick"] * count
    return Rows(
        ids=np.arange(count).astype(str),
        event_time=np.datetime64("1996-01-01", "us") + (np.asarray(days) * 86_400_000_000).astype("m8[us]"),
        tensors=Tensors(np.zeros((count, 1), np.float32), categories),
        label=np.asarray(label, dtype=np.float64),
        weight=np.ones(count),
    )


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., Rows]:
    return make_rows


@pytest.fixture(scope="session")
def houses() -> Rows:
    """All real sales, in time order, as the model sees them."""
    from systems.house_prices import SYSTEM

    names = {
        "year_built": "yrbuilt",
        "living_area": "TLA",
        "half_baths": "halfbaths",
        "garage_area": "garagesqft",
        "lot_size": "lotsize",
    }
    with gzip.open(HOUSES, "rt", encoding="utf-8") as stream:
        sales = sorted(csv.DictReader(stream), key=lambda sale: sale["sdate"])
    sold = [datetime.strptime(sale["sdate"], "%y%m%d").replace(tzinfo=UTC) for sale in sales]
    schema = SYSTEM.schema
    columns: dict[str, list[object]] = {"sold_on": list(sold)}
    for spec in schema.features:
        if spec.name != "sold_on":
            texts = [sale[names.get(spec.name, spec.name)] for sale in sales]
            columns[spec.name] = [float(text) for text in texts] if spec.is_number else list(texts)
    return Rows(
        ids=np.arange(len(sales)).astype(str),
        event_time=np.array([moment.replace(tzinfo=None) for moment in sold], dtype="datetime64[us]"),
        tensors=encode(schema, columns, len(sales)),
        label=np.array([float(sale["price"]) for sale in sales]),
        weight=np.ones(len(sales)),
    )
