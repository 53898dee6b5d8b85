"""Predictions meet what became true: against a naive join, whatever order things arrive in."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.data.log_files import ClearLog
from lifecycle.data.log_parts import CompactedLog
from lifecycle.data.outcome_import import count_outcomes
from lifecycle.data.source_predictions import Logged, chunks
from lifecycle.serving.log.entries import OutcomeEntry, PredictionEntry, Share
from lifecycle.steps.compact import compact
from tests.log.conftest import HOMES, NOON, Written, micros, outcome, prediction

LATER = NOON + timedelta(days=30)


def hours(count: float) -> datetime:
    return NOON + timedelta(hours=count)


def rows(written: Written, as_of: datetime = LATER) -> list[tuple[str, float, datetime]]:
    """Id, label and event time of the rows that training would see."""
    compact(written.log, NOON)
    frames = [chunk.frame for chunk in chunks(HOMES, Logged(written.folder, as_of, ClearLog()))]
    if not frames:
        return []
    return pl.concat(frames).select("home_id", "price", "asked_at").sort("home_id").rows()


def labels(written: Written, as_of: datetime = LATER) -> dict[str, float]:
    return {key: value for key, value, _ in rows(written, as_of)}


@dataclass(frozen=True)
class Asked:
    """A prediction, as the naive join sees it."""

    key: str
    record: str | None
    at: int
    share: Share


def naive(asked: Sequence[Asked], entries: Sequence[OutcomeEntry], as_of: int) -> dict[str, float]:
    """Record -> label, by the rules of docs/serving/outcomes.md taken word by word."""
    first_received: dict[tuple[Any, ...], int] = {}
    for it in entries:
        same = (it.prediction_id, it.record_id, it.value, it.observed_at)
        first_received[same] = min(it.received_at, first_received.get(same, it.received_at))
    by_id = defaultdict(list)
    for (of, record, value, observed), received in first_received.items():
        if observed < as_of:
            by_id[of, record].append((observed, received, value))
    served = [it for it in asked if it.share != "shadow" and it.at < as_of]
    reaching = defaultdict(list)
    for (of, record), versions in by_id.items():
        newest = max(versions)
        for it in served:
            if of is not None and it.key == of:
                reaching[it].append(newest)
        candidates = [it for it in served if record is not None and it.record == record]
        before = [it for it in candidates if it.at < newest[0]]
        if before:
            reaching[max(before, key=lambda it: (it.at, it.key))].append(newest)
        elif candidates:
            first = min(it.at for it in candidates)
            reaching[max((it for it in candidates if it.at == first), key=lambda it: it.key)].append(newest)
    found: dict[str, float] = {}
    for it in sorted(
        reaching, key=lambda it: (it.at, it.key)
    ):  # the later prediction of a record stands for it
        found[it.record or it.key] = max(reaching[it])[2]
    return found


KEYS = st.sampled_from(["p0", "p1", "p2", "p3", "p4"])
RECORDS = st.sampled_from(["r0", "r1", "r2"])
TIMES = st.integers(0, 6)
PREDICTIONS = st.lists(
    st.tuples(
        KEYS, st.none() | RECORDS, TIMES, st.sampled_from(["champion", "champion", "canary", "shadow"])
    ),
    max_size=5,
    unique_by=lambda it: it[0],
)
OUTCOMES = st.lists(
    st.tuples(
        KEYS.map(lambda k: (k, None)) | RECORDS.map(lambda r: (None, r)), st.integers(0, 3), TIMES, TIMES
    ),
    max_size=10,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PREDICTIONS, OUTCOMES, st.integers(1, 8), st.data())
def test_the_join_is_the_naive_join_in_whatever_order_and_parts(predictions, outcomes, cut, data) -> None:
    asked = [Asked(key, record, micros(hours(at)), share) for key, record, at, share in predictions]
    entries = [
        OutcomeEntry(of, record, float(value), micros(hours(observed)), micros(hours(received)))
        for (of, record), value, observed, received in outcomes
    ]
    logged: list[PredictionEntry | OutcomeEntry] = [
        prediction(key, {"home_id": record} if record else {}, at=hours(at), share=share)
        for key, record, at, share in predictions
    ]
    arriving = data.draw(st.permutations([*logged, *entries]))
    stops = data.draw(st.integers(0, len(arriving)))
    with tempfile.TemporaryDirectory() as folder:
        written = Written(CompactedLog(Path(folder) / "homes", "homes", ClearLog()))
        for some in (arriving[:stops], arriving[stops:]):
            written.segment(*(it for it in some if isinstance(it, PredictionEntry)))
            written.outcomes(*(it for it in some if isinstance(it, OutcomeEntry)))
            compact(written.log, NOON)
        assert labels(written, hours(cut)) == naive(asked, entries, micros(hours(cut)))
        counts = count_outcomes(written.log)
    different = {(it.prediction_id, it.record_id, it.value, it.observed_at) for it in entries}
    ids = {(it.prediction_id, it.record_id) for it in entries}
    known = {it.key for it in asked} | {it.record for it in asked}
    assert counts.received == len(entries)
    assert counts.repeated == len(entries) - len(different)
    assert counts.corrections == len(different) - len(ids)
    assert counts.matched == sum((of or record) in known for of, record in ids)
    assert counts.parked == len(ids) - counts.matched


def test_a_row_has_its_features_as_logged_its_moment_and_its_truth(written: Written) -> None:
    written.segment(prediction("p", {"home_id": "h", "beds": 5, "note": "n"}))
    written.outcomes(outcome(7.5, hours(48), of="p"))
    compact(written.log, NOON)
    [chunk] = chunks(HOMES, Logged(written.folder, LATER, ClearLog()))
    [row] = chunk.frame.to_dicts()
    assert row["#row"] == 1
    assert (row["home_id"], row["price"], row["asked_at"]) == ("h", 7.5, NOON)
    assert (row["beds"], row["note"], row["wall"], row["seen"]) == (5, "n", "brick", None)


def test_without_a_record_id_a_prediction_stands_for_itself(written: Written) -> None:
    written.segment(prediction("p", {}, {}))
    written.outcomes(outcome(1.0, hours(1), of="p-0"), outcome(2.0, hours(1), of="p-1"))
    assert labels(written) == {"p-0": 1.0, "p-1": 2.0}


def test_a_correction_counts_from_when_it_was_observed(written: Written) -> None:
    written.segment(prediction("p"))
    written.outcomes(outcome(1.0, hours(1), of="p"), outcome(2.0, hours(9), of="p"))
    assert labels(written, hours(1)) == {}
    assert labels(written, hours(2)) == {"p": 1.0}
    assert labels(written, hours(9)) == {"p": 1.0}
    assert labels(written, hours(10)) == {"p": 2.0}


def test_an_old_outcome_that_is_sent_again_does_not_undo_its_correction(written: Written) -> None:
    written.segment(prediction("p"))
    first = outcome(1.0, hours(1), of="p", received=hours(1))
    written.outcomes(first, outcome(2.0, hours(1), of="p", received=hours(2)))
    written.outcomes(outcome(1.0, hours(1), of="p", received=hours(3)))
    assert labels(written) == {"p": 2.0}


def test_an_outcome_waits_for_its_prediction(written: Written) -> None:
    written.outcomes(outcome(1.0, hours(5), of="p"), outcome(2.0, hours(5), record="h"))
    assert labels(written) == {}
    assert count_outcomes(written.log).parked == 2
    written.segment(prediction("p"), prediction("q", {"home_id": "h"}))
    assert labels(written) == {"h": 2.0, "p": 1.0}
    assert count_outcomes(written.log).parked == 0


def test_a_records_outcome_belongs_to_the_last_prediction_before_it(written: Written) -> None:
    for key, hour in (("early", 0), ("late", 4), ("after", 8)):
        written.segment(prediction(key, {"home_id": "h", "note": key}, at=hours(hour)))
    written.outcomes(outcome(1.0, hours(6), record="h"))
    assert rows(written) == [("h", 1.0, hours(4))]


def test_nobody_was_answered_by_a_shadow(written: Written) -> None:
    written.segment(prediction("p", share="shadow"), prediction("q", share="canary"))
    written.outcomes(outcome(1.0, hours(1), of="p"), outcome(2.0, hours(1), of="q"))
    assert labels(written) == {"q": 2.0}
    assert count_outcomes(written.log).parked == 0


def test_predictions_of_a_record_that_lacked_a_feature_are_left_out_and_told(
    written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    for release, missing in (("b2" * 32, "beds"), ("c3" * 32, "note")):
        fields = tuple(spec for spec in HOMES.fields if spec.name != missing)
        written.schemas[release] = HOMES.model_copy(update={"fields": fields})
        written.segment(prediction(missing, release=release))
    written.outcomes(outcome(1.0, hours(1), of="beds"), outcome(2.0, hours(1), of="note"))
    assert labels(written) == {"note": 2.0}  # a note is optional, a number of beds is not
    assert "1 logged predictions with a known outcome are left out" in caplog.text


def test_a_flood_of_unknown_ids_is_parked_and_counted(written: Written) -> None:
    written.segment(prediction("p"))
    written.outcomes(*(outcome(1.0, hours(1), of=f"unknown-{i}") for i in range(20_000)))
    written.outcomes(outcome(1.0, hours(1), of="p"))
    assert labels(written) == {"p": 1.0}
    counts = count_outcomes(written.log)
    assert (counts.matched, counts.parked, counts.repeated) == (1, 20_000, 0)
