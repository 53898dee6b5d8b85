"""Rows that do not fit into memory: the same months and versions as if they did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.record import RecordSchema
from lifecycle.data import months as months_module
from lifecycle.data.months import Months, month_name

VERSIONS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 1), st.sampled_from(["licensed", "user"])),
    max_size=40,
)


def frame(versions: list[tuple[int, int, int, str]]) -> pl.DataFrame:
    """Rides by number, month, kilometres and origin."""
    start = datetime(2025, 11, 3, tzinfo=UTC)
    rows = {
        "ride": [str(ride) for ride, *_ in versions],
        "rider": [None] * len(versions),
        "began": [start + timedelta(days=31 * month) for _, month, *_ in versions],
        "bike": ["city"] * len(versions),
        "gears": [7] * len(versions),
        "km": [float(km) for *_, km, _ in versions],
        "helmet": [None] * len(versions),
        "cost": [1.0] * len(versions),
        "origin": [origin for *_, origin in versions],
    }
    types = {"rider": pl.String, "helmet": pl.Boolean, "began": pl.Datetime("us", "UTC"), "km": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def expected(versions: list[tuple[int, int, int, str]]) -> tuple[dict[int, Any], int, int]:
    """The same by a plain loop: the newest versions, repeated rows and replaced rows."""
    newest: dict[int, Any] = {}
    duplicates = corrections = 0
    for ride, month, km, origin in versions:
        if ride in newest and newest[ride][:2] == (month, km):
            duplicates += 1
            continue
        corrections += ride in newest
        newest[ride] = (month, km, origin)
    return newest, duplicates, corrections


def collected(schema: RecordSchema, batches: list[pl.DataFrame], **limits: int) -> tuple[Any, ...]:
    with TemporaryDirectory() as folder:
        months = Months(schema, Path(folder), **limits)
        for batch in batches:
            months.add(batch)
        settled = months.settle()
        frames = {month_name(month): months.rows(month) for month in months.months()}
        return settled, {name: rows.rows() for name, rows in frames.items() if rows.height}


@pytest.mark.parametrize("limits", [{}, {"buffer_bytes": 0}, {"buffer_bytes": 200, "rows_at_once": 2}])
@settings(deadline=None, max_examples=40)
@given(versions=VERSIONS)
def test_the_newest_version_wins_wherever_its_rows_wait(
    schema: RecordSchema, limits: dict[str, int], versions: list[tuple[int, int, int, str]]
) -> None:
    rows = frame(versions)
    settled, found = collected(schema, [rows[i : i + 7] for i in range(0, len(versions), 7)], **limits)
    newest, duplicates, corrections = expected(versions)
    assert settled == (duplicates, corrections)
    kept = {int(row[0]): (row[2].month, row[5], row[8]) for part in found.values() for row in part}
    assert {ride: (km, origin) for ride, (_, km, origin) in kept.items()} == {
        ride: (km, origin) for ride, (_, km, origin) in newest.items()
    }
    for name, part in found.items():
        assert {row[2].strftime("%Y-%m") for row in part} == {name}
        assert [(row[2], row[0]) for row in part] == sorted((row[2], row[0]) for row in part)


def test_rows_whose_hashes_collide_are_told_apart_by_their_ids(
    schema: RecordSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months_module, "_hashed", lambda ids: np.zeros(len(ids), np.uint64))
    rows = frame([(1, 0, 0, "user"), (2, 0, 0, "user"), (1, 1, 1, "user")])
    settled, found = collected(schema, [rows])
    assert settled == (0, 1)
    assert [row[0] for part in found.values() for row in part] == ["2", "1"]
