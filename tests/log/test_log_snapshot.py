"""The system's own predictions become rows of its next snapshot, as of a moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import pytest

from lifecycle.core.errors import ConfigError
from lifecycle.core.params import QuarantineParams, SourceParams, SplitParams, SystemParams, load_params
from lifecycle.core.record import RecordSchema, schema_of
from lifecycle.core.roles import SubjectId
from lifecycle.core.values import Counts
from lifecycle.data.ingest import Ingested, ingest
from lifecycle.data.log_files import ClearLog
from lifecycle.data.sources import open_sources
from lifecycle.steps.compact import compact
from tests.log.conftest import HOMES, NOON, Home, Written, outcome, prediction

Ingest = Callable[..., Ingested]
LATER = NOON + timedelta(days=30)
LOGGED = SourceParams(origin="user", kind="predictions")


@pytest.fixture
def snapshot(written: Written, tmp_path: Path) -> Ingest:
    """Ingests, after compacting; the sources are the log alone unless others are given."""

    def run(as_of: datetime = LATER, *sources: SourceParams, share: float = 0.0) -> Ingested:
        compact(written.log, NOON)
        params = SystemParams(
            entry="homes:SYSTEM",
            code="homes.py",
            sources=sources or (LOGGED,),
            quarantine=QuarantineParams(max_share=share),
            split=SplitParams(validation_days=30, test_days=30),
        )
        out, quarantine = tmp_path / "data" / "homes", tmp_path / "quarantine.jsonl"
        return ingest(HOMES, params, tmp_path, as_of, out, quarantine, written.folder)

    return run


def kept(folder: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((folder / "data" / "homes").glob("*.parquet")))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data" / "homes").iterdir()}


def test_what_was_predicted_and_became_true_is_a_row_of_the_users_own(
    written: Written, snapshot: Ingest, tmp_path: Path
) -> None:
    written.segment(prediction("p", {"home_id": "h1", "beds": 9}), prediction("q"), prediction("unknown"))
    written.outcomes(outcome(5.5, NOON + timedelta(days=2), record="h1"), outcome(6.5, NOON, of="q"))
    made = snapshot()
    assert made.counts == Counts(read=2, kept=2)
    assert (made.origins, made.months, made.last_event) == ({"user": 2}, ("2026-03",), NOON)
    rows = kept(tmp_path).select("home_id", "asked_at", "beds", "price", "origin").rows()
    assert rows == [("h1", NOON, 9, 5.5, "user"), ("q", NOON, 3, 6.5, "user")]


def test_a_later_moment_without_new_outcomes_changes_no_byte_and_a_correction_does_not_leak(
    written: Written, snapshot: Ingest, tmp_path: Path
) -> None:
    written.segment(prediction("p"))
    written.outcomes(outcome(5.0, NOON + timedelta(days=2), of="p"))
    snapshot(NOON + timedelta(days=5))
    before = contents(tmp_path)
    written.outcomes(outcome(9.0, NOON + timedelta(days=10), of="p"))
    written.segment(prediction("new", at=NOON + timedelta(days=6)))
    snapshot(NOON + timedelta(days=10))
    assert contents(tmp_path) == before
    snapshot(NOON + timedelta(days=11))
    assert kept(tmp_path)["price"].to_list() == [9.0]
    snapshot(NOON + timedelta(days=5))  # the past can be seen again
    assert contents(tmp_path) == before


def test_an_outcome_that_is_earlier_than_the_labels_delay_waits_for_it(
    written: Written, snapshot: Ingest
) -> None:
    written.segment(prediction("p"))
    written.outcomes(outcome(5.0, NOON + timedelta(hours=1), of="p"))
    assert snapshot(NOON + timedelta(hours=2)).counts == Counts(read=1, immature=1)
    assert snapshot(NOON + timedelta(days=1)).counts == Counts(read=1, kept=1)


def test_the_later_listed_source_has_the_last_word_on_a_record(
    written: Written, snapshot: Ingest, tmp_path: Path
) -> None:
    bought = {
        "home_id": "h1",
        "asked_at": "2026-01-01T00:00:00Z",
        "built": "1990-01-01",
        "seen": "",
        "area": 50,
    }
    bought |= {"beds": 1, "garden": "true", "wall": "wood", "note": "", "price": 1}
    (tmp_path / "bought.csv").write_text(
        "\n".join([",".join(bought), ",".join(map(str, bought.values())), ""])
    )
    licensed = SourceParams(origin="licensed", kind="csv", path="bought.csv")
    written.segment(prediction("p", {"home_id": "h1"}))
    written.outcomes(outcome(5.0, NOON, of="p"))
    assert snapshot(LATER, licensed, LOGGED).counts == Counts(read=2, kept=1, corrections=1)
    assert kept(tmp_path).select("beds", "price", "origin").rows() == [(3, 5.0, "user")]
    snapshot(LATER, LOGGED, licensed)
    assert kept(tmp_path).select("beds", "price", "origin").rows() == [(1, 1.0, "licensed")]


def test_before_anything_is_logged_the_source_is_empty(snapshot: Ingest) -> None:
    assert snapshot().counts == Counts()


def test_what_the_record_no_longer_allows_is_refused_like_any_row(written: Written, snapshot: Ingest) -> None:
    fields = tuple(s.model_copy(update={"le": 1e9}) if s.name == "area" else s for s in HOMES.fields)
    written.schemas["a1" * 32] = HOMES.model_copy(update={"fields": fields})
    written.segment(prediction("p", {"area": 5000}), prediction("q"))
    written.outcomes(outcome(1.0, NOON, of="p"), outcome(1.0, NOON, of="q"))
    assert snapshot(share=0.5).counts == Counts(read=2, kept=1, quarantined=1)


class Owned(Home):
    """A home with an owner who is no feature."""

    owner: Annotated[str, SubjectId()]


@pytest.mark.parametrize(
    ("schema", "logged", "message"),
    [
        (schema_of(Owned), True, "source 1: kind: owner is not optional, and as it is no feature"),
        (HOMES, False, "there is none here"),
    ],
)
def test_a_record_that_requests_cannot_fill_is_told(
    schema: RecordSchema, logged: bool, message: str, written: Written, tmp_path: Path
) -> None:
    from lifecycle.data.source_predictions import Logged

    with pytest.raises(ConfigError, match=message):
        open_sources(
            schema, [LOGGED], tmp_path, Logged(written.folder, LATER, ClearLog()) if logged else None
        )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{origin: licensed, kind: predictions}", "a predictions source holds the user's own rows"),
        ("{origin: user, kind: predictions, path: x.csv}", "a predictions source takes no path"),
    ],
)
def test_keys_that_do_not_fit_the_log_are_faults(tmp_path: Path, source: Any, message: str) -> None:
    (tmp_path / "params.yaml").write_text(
        f"systems: {{homes: {{entry: 'a:B', code: a.py, sources: [{source}], "
        "split: {validation_days: 1, test_days: 1}}}"
    )
    with pytest.raises(ConfigError, match=message):
        load_params(tmp_path)
