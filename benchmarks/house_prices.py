"""How well the house-price model predicts five months it has never seen, beside plain boosting."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.preprocessing import OrdinalEncoder

from benchmarks.bench import Bench, Size
from benchmarks.commands import ROOT
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from lifecycle.core.params import load_params
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.data.ingest import ingest
from lifecycle.data.reading import read_rows
from lifecycle.evaluation import metrics
from lifecycle.serving.engine import load_engine
from lifecycle.training.fit import train_model
from systems.house_prices import SYSTEM

AS_OF = datetime(1999, 1, 1, tzinfo=UTC)
BORDER = np.datetime64("1998-05-01")
HALF_LIFE_DAYS = 365.25
TREND = {"mae": 12_700.0, "median_ape": 0.127, "bias": 0.963}
"""The best of the baselines measured when the data was chosen: a linear time trend over boosted trees."""


@dataclass(frozen=True)
class _Scored:
    """Metrics of one model, and how far its bias is from 1."""

    mae: float
    median_ape: float
    bias: float

    @property
    def off(self) -> float:
        return abs(self.bias - 1)

    def __str__(self) -> str:
        return f"{self.mae:,.0f} USD, {self.median_ape:.4f}, bias {self.bias:.3f}"


def measure(bench: Bench) -> Figure:
    """Train on the sales before May 1998, test on those since."""
    train, test = sales(bench.folder / "house-prices")
    train = train.take(slice(None, None, bench.size.every))
    begun = time.perf_counter()
    model = trained(bench, train)
    ours = score(test, load_engine(model).predict(test.tensors))
    seconds = time.perf_counter() - begun
    plain = score(test, boosted_answers(train, test, weighted=False))
    recency = score(test, boosted_answers(train, test, weighted=True))
    bench.say(f"house prices: {ours}; plain boosting: {plain}; with recency weights: {recency}")
    return Figure(
        name="house-prices",
        title="The house-price model",
        how=(
            f"Trained on the {len(train):,} sales before {BORDER}, tested on the {len(test):,} since: "
            "ingest, fit, conversion and parity as in a flow, and the ONNX model's own answers. Asked is the "
            "best of the baselines measured when the data was chosen (HistGradientBoosting on absolute error "
            "of log price; mean absolute error, median absolute percentage error and bias: plain 15.8k, "
            ".175, .872; recency weights 14.4k, .149, .924; a linear time trend 12.7k, .127, .963). Beside "
            "it, in the same run: plain HistGradientBoosting."
        ),
        lines=(
            _line("mean absolute error", "USD", ours.mae, TREND["mae"], plain.mae),
            _line(
                "median absolute percentage error", "", ours.median_ape, TREND["median_ape"], plain.median_ape
            ),
            _line("how far the bias is from 1", "", ours.off, 1 - TREND["bias"], plain.off),
        ),
        notes=(
            f"Bias, the median of predicted / true: {ours.bias:.3f}; plain boosting {plain.bias:.3f}.",
            f"Beside the best baseline: error {_less(ours.mae, TREND['mae'])}, median percentage error "
            f"{_less(ours.median_ape, TREND['median_ape'])}. Beside plain boosting in the same run: "
            f"{_less(ours.mae, plain.mae)} and {_less(ours.median_ape, plain.median_ape)}.",
            f"The same with recency weights (half-life one year), in the same run: {recency}.",
            f"Fitting, conversion, parity and the answers took {seconds:.1f} s.",
        ),
    )


def _line(what: str, unit: str, ours: float, best: float, plain: float) -> Measured:
    beside = Beside("plain HistGradientBoosting", Samples((plain,), unit))
    return Measured(what, Samples((ours,), unit), Bound("at most", round(best, 4)), beside)


def _less(ours: float, other: float) -> str:
    return f"{abs(1 - ours / other):.0%} {'lower' if ours < other else 'higher'}"


def sales(folder: Path) -> tuple[Rows, Rows]:
    """The real sales before and since the border."""
    params = load_params(ROOT).system(SYSTEM.name)
    data, manifest = folder / "data", folder / "manifest.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    ingest(SYSTEM.schema, params, ROOT, AS_OF, data, folder / "refused.jsonl")
    everything = pl.scan_parquet(data / "*.parquet").select(
        record_id=pl.col(SYSTEM.schema.record_id.name).cast(pl.String),
        part=pl.lit("test"),
        weight=pl.lit(1.0),
        month=pl.col(SYSTEM.schema.event_time.name).dt.strftime("%Y-%m"),
    )
    everything.collect().write_parquet(manifest)
    rows = read_rows(SYSTEM.schema, data, manifest, "test")
    before = rows.event_time < BORDER
    return rows.take(before), rows.take(~before)


def system(size: Size) -> System:
    """The house-price system, of as many trees as a size asks for."""
    if size.trees is None:
        return SYSTEM
    trees = {"regressor__regressor__trees__max_iter": size.trees}
    return replace(SYSTEM, build_model=lambda seed: SYSTEM.build_model(seed).set_params(**trees))


def trained(bench: Bench, train: Rows) -> Path:
    """The files of the system's own model, in the form that is served; trained once for all figures."""
    folder = bench.folder / "house-prices" / "model"
    if not folder.exists():
        params = load_params(ROOT).system(SYSTEM.name)
        train_model(system(bench.size), params, train, folder, load_engine, bench.size.probes)
    return folder


def boosted_answers(train: Rows, test: Rows, *, weighted: bool) -> NDArray[np.float64]:
    """What boosting of default settings answers, without the date; on absolute error of log price."""
    names = SYSTEM.schema.numbers
    numbers = [i for i, name in enumerate(names) if name != SYSTEM.schema.event_time.name]
    categories = slice(len(names), None)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("numbers", "passthrough", numbers), ("categories", encoder, categories)])
    trees = HistGradientBoostingRegressor(loss="absolute_error", random_state=0)
    age = (train.event_time[-1] - train.event_time) / np.timedelta64(1, "D")
    weight = 0.5 ** (age / HALF_LIFE_DAYS) if weighted else None
    trees.fit(columns.fit_transform(_table(train)), np.log(train.label), sample_weight=weight)
    answers: NDArray[np.float64] = np.exp(trees.predict(columns.transform(_table(test))))
    return answers


def _table(rows: Rows) -> NDArray[np.object_]:
    return np.hstack([rows.tensors.numbers.astype(object), rows.tensors.categories])


def score(test: Rows, answers: NDArray[np.float64]) -> _Scored:
    """The metrics that the baselines are known by."""
    found = metrics.compute("regression", test.label, answers, threshold=0.5)
    return _Scored(found["mae"], found["median_ape"], found["bias"])
