"""Beside each answer stands what moved it, and where it is no ground for a decision, why."""

from __future__ import annotations

import polars as pl
import pytest

from lifecycle.core.errors import ConfigError
from tests.scoring.conftest import HOUSES

EXPLAIN = {"reasons": 2, "max_outside": 0}


def test_every_answer_names_what_moved_it_most(world):
    world.batch["explain"] = EXPLAIN
    world.score()
    rows = world.rows()
    assert {"abstained", "reason_1", "effect_1", "reason_2", "effect_2"} < set(rows.columns)
    first, last = rows.row(0, named=True), rows.row(-1, named=True)
    assert (first["reason_1"], last["reason_1"]) == ("area", "area")
    assert first["effect_1"] < 0 < last["effect_1"]
    assert rows["abstained"].null_count() == len(rows)


def test_a_home_unlike_any_gets_an_answer_and_no_decision(world):
    world.release(version="2", task="classification", threshold=0.5)
    world.batch |= {"explain": EXPLAIN, "max_shift": 99.0}
    odd = HOUSES.with_columns(area=pl.when(pl.int_range(pl.len()) == 3).then(9_000.0).otherwise("area"))
    odd.write_parquet(world.root / "homes.parquet")
    result = world.score(version="2")
    row = world.rows().row(3, named=True)
    assert row["decision"] is None
    assert row["prediction"] > 17_000
    assert row["abstained"] == "training saw nothing like it in area"
    assert result.counts.abstained == world.rows()["decision"].null_count() == 1


def test_what_is_said_belongs_to_the_job_and_a_job_without_it_keeps_its_name(world):
    plain = world.score(output="plain").job
    world.batch["explain"] = EXPLAIN
    assert world.score().job != plain
    assert world.score().status == "unchanged"


def test_a_release_without_a_profile_cannot_explain(world):
    world.release(version="2", profiled=False)
    world.batch["explain"] = EXPLAIN
    with pytest.raises(ConfigError, match=r"no profile of what training saw.*\n.*update the system"):
        world.score(version="2")
