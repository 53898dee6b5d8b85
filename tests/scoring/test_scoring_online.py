"""One release, two ways to ask it: a batch gives the numbers of the endpoint, to the last bit."""

from __future__ import annotations

from typing import Any

import polars as pl

from lifecycle.serving.app import create_app
from lifecycle.serving.store import VerifiedReleaseStore
from tests.scoring.conftest import HOUSES, ROWS
from tests.serving.conftest import Service, eventually


def online(world, path: str, body: Any) -> Any:
    store = VerifiedReleaseStore(world.root / "cache", world.signer)
    with Service(create_app(world.ledger, store, poll_seconds=0.02)) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def bodies(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [{**row, "sold_on": row["sold_on"].isoformat()} for row in frame.to_dicts()]


def test_a_batch_answers_as_the_endpoint_does_to_the_last_bit(world):
    world.score(chunk_rows=70)
    rows = world.rows()
    answer = online(world, "/v1/homes/predict", {"instances": bodies(HOUSES)})
    assert rows["prediction"].to_list() == answer["predictions"]
    assert rows["record_id"].to_list() == answer["record_ids"]
    assert rows["release"].unique().to_list() == [answer["release"]]


def test_so_does_a_batch_of_one_row_and_a_classification(world):
    world.release("2", constant=-2300.0, task="classification", threshold=0.5, profiled=False)
    world.score(output="all")
    HOUSES.head(1).write_parquet(world.root / "one.parquet")
    world.score("one.parquet")
    alone = online(world, "/v1/homes/predict", bodies(HOUSES.head(1))[0])
    assert world.rows()["prediction"].to_list() == [alone["prediction"]]
    answer = online(world, "/v1/homes/predict", {"instances": bodies(HOUSES)})
    everything = pl.concat(pl.read_parquet(path) for path in sorted((world.root / "all").glob("*.parquet")))
    assert everything.height == ROWS
    assert everything["decision"].to_list() == answer["decisions"]
