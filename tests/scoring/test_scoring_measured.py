"""The pace of a batch is measured on made-up people, who are sealed, scored and gone."""

from __future__ import annotations

import os
from functools import partial

import pytest

from lifecycle.core.errors import StageError
from lifecycle.core.machine import at_most, cores
from lifecycle.core.params import SystemParams
from lifecycle.records.vault import SystemVault
from lifecycle.serving.engine import load_engine
from lifecycle.steps.measure_batch import BatchProbe
from lifecycle.wiring.adapters import trial_vault
from tests.scoring.test_scoring_sealed import OWNED

ROWS = 250


@pytest.fixture
def measure(world):
    """Measures the live release of a world."""

    def measured(rows: int = ROWS, **requirements):
        asked = {"mode": "batch", "records_per_hour": 1} | requirements
        params = SystemParams.model_validate(world.scorer().params.model_dump() | {"requirements": asked})
        probe = BatchProbe(
            "homes",
            world.root / "scratch",
            partial(trial_vault, "homes"),
            partial(load_engine, bulk=True),
            rows=rows,
            chunk_rows=100,
        )
        return probe.measure(world.root / "registry" / world.ledger.live("homes").release.digest, params)

    return measured


@pytest.mark.parametrize("sealed", [True, False])
def test_a_sample_takes_the_steps_of_a_job_and_leaves_nothing(world, measure, monkeypatch, sealed):
    monkeypatch.setenv("LIFECYCLE_KEYS_URL", "postgresql://the-real-ones/keys")
    world.batch = {"explain": {"reasons": 1, "max_outside": 0}}
    if sealed:
        world.schema = OWNED
        world.release("2")
    admitted, seal = [], SystemVault.seal

    def sealing(vault, table, path):
        admitted.append((path.name, table.num_rows))
        seal(vault, table, path)

    monkeypatch.setattr(SystemVault, "seal", sealing)
    found = measure(cores=1)
    assert (found.rows, found.sealed) == (ROWS, sealed)
    assert found.cores == (1 if hasattr(os, "sched_setaffinity") else cores())
    hour, rounding = 3600 * ROWS, 0.0006  # seconds are told in whole milliseconds
    assert hour / (found.seconds + rounding) <= found.records_per_hour <= hour / (found.seconds - rounding)
    assert list((world.root / "scratch").iterdir()) == []
    parts = [("part-00000.parquet", 100), ("part-00001.parquet", 100), ("part-00002.parquet", 50)]
    assert sorted(admitted) == ([*parts, ("sample-00000000.parquet", ROWS)] if sealed else [])


def test_a_sample_that_is_refused_is_no_measurement(world, measure, monkeypatch):
    monkeypatch.setattr("lifecycle.data.scoring.work.WorkFolder.rows", lambda *_: 0)
    with pytest.raises(StageError, match="of 250 made-up records 0 were scored"):
        measure()


def test_after_a_measurement_all_cores_are_there_again():
    before = cores()
    with at_most(1) as found:
        assert found == cores() == 1 or not hasattr(os, "sched_setaffinity")
    assert cores() == before
