"""Predictions joined with what became true, as it was known at a moment; computed anew at every reading.

Nothing is matched when it is written, so the order in which predictions, outcomes, corrections and repeats
arrive cannot matter: an outcome whose prediction is not there yet waits in the log like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from lifecycle.data.log_files import LogFiles
from lifecycle.data.predictions import MOMENT, OUTCOMES, SERVED

_IDS = ("prediction_id", "record_id")
_NEWEST = ("observed_at", "received_at", "value")
_FOUND: dict[str, pl.DataType] = {
    "part": pl.UInt32(),
    "row": pl.UInt32(),
    "prediction_id": pl.String(),
    "key": pl.String(),
    "at": MOMENT,
    "outcome": pl.UInt32(),
}
"""A prediction (the row of a part) and the outcome that belongs to it (the row of the known ones)."""


@dataclass(frozen=True)
class Matched:
    """Rows of one part and their outcomes.

    Attributes:
        path: The part.
        rows: ``prediction_id``, ``value`` that became true, ``observed_at``; in the order of the part.
    """

    path: Path
    rows: pl.DataFrame


def known(files: LogFiles, outcomes: Sequence[Path], as_of: datetime | None = None) -> pl.DataFrame:
    """The outcome that counts for each id, as of a moment.

    The same outcome (id, value, ``observed_at``) counts once, however often and whenever it comes. Of
    several for one id the latest ``observed_at`` wins, then the latest to be received, then the greater
    value.

    Args:
        files: Of the log.
        outcomes: Parts of outcomes.
        as_of: Only what was observed before it; everything, if None.

    Returns:
        As ``OUTCOMES``, and ``versions``: how many different ones that id has.
    """
    parts = [files.read(path, list(OUTCOMES)) for path in outcomes]
    rows = pl.concat([pl.LazyFrame(schema=OUTCOMES), *parts])
    if as_of:
        rows = rows.filter(pl.col("observed_at") < as_of.astimezone(UTC))
    different = rows.group_by(*_IDS, "value", "observed_at").agg(pl.col("received_at").min())
    newest = different.sort(_NEWEST).group_by(_IDS).agg(pl.col(_NEWEST).last(), pl.len().alias("versions"))
    return newest.select(*OUTCOMES, "versions").collect()


def join(
    files: LogFiles,
    predictions: Sequence[Path],
    outcomes: pl.DataFrame,
    as_of: datetime,
    shares: Sequence[str] = SERVED,
) -> Iterator[Matched]:
    """The predictions whose outcome is known, part by part; one per record.

    An outcome with a prediction's id belongs to that prediction. One with a record's id belongs to the last
    prediction of that record before it was observed; where there is none, to the first after it. Where both
    reach one prediction, the later observed wins. Of several predictions of one record the latest stands for
    it; one without a record id stands for itself.

    Memory grows with the outcomes and with the longest part, not with the predictions.

    Args:
        files: Of the log.
        predictions: Parts of predictions.
        outcomes: From ``known``.
        as_of: Only predictions answered before it.
        shares: Of the traffic.
    """
    found = _find(files, predictions, outcomes, as_of, shares)
    value = outcomes.select("value", "observed_at", "received_at").with_row_index("outcome")
    best = (
        found.join(value, on="outcome")
        .sort(*_NEWEST, "outcome")
        .unique("prediction_id", keep="last", maintain_order=True)
        .sort("at", "prediction_id")
        .unique("key", keep="last", maintain_order=True)
        .sort("part", "row")
    )
    for (part,), rows in best.group_by("part", maintain_order=True):
        yield Matched(predictions[int(str(part))], rows.select("prediction_id", "value", "observed_at"))


def reached(files: LogFiles, predictions: Sequence[Path], outcomes: pl.DataFrame) -> pl.Series:
    """Which outcomes have a prediction, whatever its share and time: True in the order of ``outcomes``."""
    found = pl.Series([False]).new_from_index(0, outcomes.height)
    for path in predictions:
        ids = files.read(path, _IDS).collect()
        found |= _either([outcomes[name].is_in(ids[name].drop_nulls().implode()) for name in _IDS])
    return found


def _either(masks: Sequence[pl.Series]) -> pl.Series:
    first, second = (mask.fill_null(False) for mask in masks)
    return first | second


def _find(
    files: LogFiles,
    predictions: Sequence[Path],
    outcomes: pl.DataFrame,
    as_of: datetime,
    shares: Sequence[str],
) -> pl.DataFrame:
    """Every prediction an outcome reaches, as ``_FOUND``."""
    numbered = outcomes.with_row_index("outcome")
    by_prediction, by_record = (
        numbered.filter(pl.col(name).is_not_null()).select(name, "outcome", "observed_at") for name in _IDS
    )
    before = {**_FOUND, "before": pl.Boolean()}
    direct, of_record = [pl.DataFrame(schema=_FOUND)], [pl.DataFrame(schema=before)]
    for number, path in enumerate(predictions):
        rows = _candidates(files, path, number, as_of, shares)
        direct.append(rows.join(by_prediction, on="prediction_id").select(*_FOUND))
        reaching = rows.join(by_record, on="record_id").with_columns(
            before=pl.col("at") < pl.col("observed_at")
        )
        of_record.append(_nearest(reaching.select(*before)))
    return pl.concat([*direct, _nearest(pl.concat(of_record)).select(*_FOUND)])


def _candidates(
    files: LogFiles, path: Path, number: int, as_of: datetime, shares: Sequence[str]
) -> pl.DataFrame:
    return (
        files.read(path, (*_IDS, "at", "share"))
        .with_row_index("row")
        .filter(pl.col("share").is_in(list(shares)) & (pl.col("at") < as_of.astimezone(UTC)))
        .with_columns(key=pl.coalesce("record_id", "prediction_id"), part=pl.lit(number, pl.UInt32))
        .collect()
    )


def _nearest(rows: pl.DataFrame) -> pl.DataFrame:
    """For each outcome the last prediction before it; without one, the first after it."""
    since = pl.when("before").then(pl.col("at").to_physical()).otherwise(-pl.col("at").to_physical())
    return rows.sort("before", since, "prediction_id").unique("outcome", keep="last", maintain_order=True)
