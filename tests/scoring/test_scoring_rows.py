"""Every row is validated as at ingest, and what is whole is answered; nothing is lost in silence."""

from __future__ import annotations

import json

import polars as pl
import pytest

from lifecycle.core.errors import ConfigError, SourceError, StateError
from tests.scoring.conftest import HOUSES, ROWS
from tests.serving.conftest import HOMES

ANSWERS = [
    2 * area + 100 * beds + (7 if garden else 0) + (depth or 0) + {"brick": 10, "wood": 20}[wall]
    for area, beds, garden, wall, depth in HOUSES.select(
        "area", "beds", "garden", "wall", "depth"
    ).iter_rows()
]


def test_the_output_says_what_was_answered_by_which_release(world):
    result = world.score()
    rows = world.rows()
    assert rows.columns == ["row", "record_id", "prediction", "release", "version", "prediction_id"]
    assert rows["record_id"].to_list() == HOUSES["home_id"].to_list()
    assert rows["prediction"].to_list() == pytest.approx(ANSWERS)
    assert rows["release"].unique().to_list() == [result.release]
    assert rows["prediction_id"].to_list() == [f"{result.job}-{row}" for row in range(1, ROWS + 1)]
    manifest = world.manifest()
    assert (manifest.actor, manifest.lineage.commit) == ("ada", "b2")
    assert [part.rows for part in manifest.parts] == [100, 100, 50]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [7, 100, 250, 1000])
def test_how_it_is_cut_and_how_many_threads_answer_changes_no_bit(world, rows, threads):
    world.score(output="one", chunk_rows=ROWS)
    one = pl.read_parquet(world.root / "one" / "part-00000.parquet")
    world.score(chunk_rows=rows, threads=threads)
    assert world.rows().drop("prediction_id").equals(one.drop("prediction_id"))


def test_files_of_every_kind_are_read_as_one(world):
    kinds = {
        "a.csv": "write_csv",
        "b.arrow": "write_ipc",
        "c.arrows": "write_ipc_stream",
        "d.parquet": "write_parquet",
    }
    start = 0
    for name, write in kinds.items():
        getattr(HOUSES.slice(start, 63), write)(world.root / name)
        start += 63
    world.score("[abc].*", "d.parquet")
    assert world.rows()["row"].to_list() == list(range(1, ROWS + 1))
    assert world.rows()["prediction"].to_list() == pytest.approx(ANSWERS)


def test_bad_rows_go_to_the_quarantine_with_reasons_and_never_with_values(world):
    text = HOUSES.head(99).write_csv() + "h99,1996-01-01,1000,3,true,brick,5,x,one value too many\n"
    text += "h100,1996-01-01,1000,3,true,marble,5,x\nh101,1996-01-01,1e300,3,true,brick,5,x\n"
    (world.root / "homes.csv").write_text(text)
    world.batch["max_shift"] = 99.0  # cheap homes only
    result = world.score("homes.csv", chunk_rows=50)
    assert (result.counts.read, result.counts.scored, result.counts.quarantined) == (102, 99, 3)
    assert [(line["row"], line["field"], line["reason"]) for line in world.refused()] == [
        (100, "(line)", "the line has 9 values and the header 8"),
        (101, "wall", "must be one of brick, wood"),
        (102, "area", "must be at most 20000"),
    ]
    assert "marble" not in (world.out / "quarantine.jsonl").read_text()


def test_a_number_that_the_model_cannot_hold_is_refused_as_by_the_endpoint(world):
    far = HOUSES.with_columns(depth=pl.when(pl.col("home_id") == "h7").then(1e300).otherwise("depth"))
    far.write_parquet(world.root / "homes.parquet")
    world.score()
    [line] = world.refused()
    assert (line["row"], line["field"], line["value"]) == (8, "depth", "too large")
    assert line["reason"] == "is beyond what the model can represent (float32)"
    assert 8 not in world.rows()["row"].to_list()


def test_files_without_ids_are_known_by_their_rows(world):
    HOUSES.drop("home_id").write_parquet(world.root / "homes.parquet")
    result = world.score()
    assert result.warnings == (
        "homes.parquet has no column for home_id: its rows are known by their position",
    )
    assert world.rows()["record_id"].null_count() == ROWS
    assert world.rows()["row"].to_list() == list(range(1, ROWS + 1))


def test_columns_are_mapped_by_hand_or_as_a_source_does(world):
    HOUSES.rename({"area": "TLA", "sold_on": "day"}).write_parquet(world.root / "homes.parquet")
    with pytest.raises(SourceError, match="lacks 2 columns") as refused:
        world.score()
    assert "--column" in refused.value.hint
    world.score(like_source=1, columns={"sold_on": "day"})
    assert world.rows()["prediction"].to_list() == pytest.approx(ANSWERS)
    with pytest.raises(ConfigError, match="has no source 2"):
        world.score(like_source=2)
    with pytest.raises(ConfigError, match=r"no field 'aera'; did you mean 'area'\?"):
        world.score(columns={"aera": "TLA"})


def test_a_classification_has_decisions(world):
    world.release("2", constant=-2300.0, task="classification", threshold=0.5, profiled=False)
    world.score()
    rows = world.rows()
    assert rows["decision"].to_list() == [value >= 0.5 for value in rows["prediction"]]
    assert 0 < rows["decision"].sum() < ROWS


def test_one_row_and_no_row(world):
    HOUSES.head(1).write_parquet(world.root / "homes.parquet")
    assert world.score().status == "published"
    assert world.rows()["prediction"].to_list() == pytest.approx(ANSWERS[:1])
    HOUSES.clear().write_parquet(world.root / "none.parquet")
    HOUSES.clear().write_csv(world.root / "none.csv")
    for name in ("none.parquet", "none.csv"):
        empty = world.score(name, output="nothing")
        assert (empty.status, empty.gates[0].detail) == ("held", "no row was scored")
        accepted = world.score(name, output="nothing", accept="a quiet night", restart=True)
        assert (accepted.status, accepted.counts.read) == ("published", 0)
        assert [path.name for path in (world.root / "nothing").iterdir()] == ["manifest.json"]
        (world.root / "nothing" / "manifest.json").unlink()


def test_what_cannot_be_scored_is_told_before_anything_is_read(world):
    (world.root / "empty.csv").touch()
    (world.root / "homes.xlsx").touch()
    for asked, told in (
        (("empty.csv",), "is empty"),
        (("homes.xlsx",), "of no known kind"),
        (("nothing/*.csv",), "no file matches"),
        (("homes.parquet", "*.parquet"), "is named twice"),
    ):
        with pytest.raises((SourceError, ConfigError), match=told):
            world.score(*asked)
    with pytest.raises(ConfigError, match="chunk_rows"):
        world.score(chunk_rows=0)
    assert not world.work.exists()


def test_which_release_answers(world):
    second = world.release("2", constant=5.0)
    assert world.score(output="live").version == "2"
    assert world.score(output="version", version="1").version == "1"
    assert world.score(output="release", release=second.digest[:10]).release == second.digest
    with pytest.raises(StateError, match="no releases of homes begin with 000000"):
        world.score(release="000000")
    with pytest.raises(ConfigError, match="a version and a release"):
        world.score(release=second.digest[:10], version="1")
    world.ledger.rows.clear()
    with pytest.raises(StateError, match="nothing is deployed for homes") as refused:
        world.score()
    assert "lifecycle first-deployment homes" in refused.value.hint


def test_the_plan_in_the_manifest_names_every_file_by_content(world):
    world.score()
    content = json.loads((world.out / "manifest.json").read_text())
    [file] = content["plan"]["inputs"]
    assert (file["name"], len(file["sha256"])) == ("homes.parquet", 64)
    assert content["plan"]["release"] == world.ledger.rows[-1].release.digest
    assert HOMES.label.name not in world.rows().columns
