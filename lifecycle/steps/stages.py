"""The three stages that DVC runs, in a worktree for a flow or in a developer's checkout for ``dvc repro``.

Each reads and writes below the project's root only, and asks no clock, server or ledger: what DVC tracks
is all that a stage depends on.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lifecycle.core.errors import StageError
from lifecycle.core.layout import Layout
from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.ports import Engine, OpenVault
from lifecycle.core.release import file_entry
from lifecycle.core.system import System, load_system
from lifecycle.core.values import Split
from lifecycle.data.reading import read_rows
from lifecycle.data.splits import make_split
from lifecycle.evaluation import metrics, monthly
from lifecycle.evaluation.disclosure import averaged
from lifecycle.steps.outputs import Scores, Training

EngineLoader = Callable[[Path], Engine]


def run_split(root: Path, name: str, open_vault: OpenVault) -> Split:
    """Stage ``split``: choose which records train, validate and test."""
    system, params, layout = _open(root, name)
    layout.split.mkdir(parents=True, exist_ok=True)
    vault = open_vault(system.schema)
    split = make_split(system.schema, params.split, layout.data, layout.manifest, vault)
    _write_json(layout.split / "split.json", split)
    return split


def run_train(root: Path, name: str, load_engine: EngineLoader, open_vault: OpenVault) -> Training:
    """Stage ``train``: fit, convert and check parity; or find that the estimator has to serve itself.

    Raises:
        StageError: The split has too little data; a bad model is never trained.
        ConversionError: The estimator has no ONNX form, and ``requirements`` ask for one.
        ParityError: The ONNX model does not answer as the estimator does, and ``requirements`` ask for it.
    """
    system, params, layout = _open(root, name)
    split = Split.model_validate_json((layout.split / "split.json").read_bytes())
    if not split.ok:
        raise StageError(split.reason, hint="wait for more labels, or lower systems.*.split.min_*_rows")
    from lifecycle.training.fit import train_model  # loads what the other stages never need

    vault = open_vault(system.schema)
    rows = read_rows(system.schema, layout.data, layout.manifest, "train", vault)
    recent = read_rows(system.schema, layout.data, layout.manifest, "validation", vault)
    layout.model.mkdir(parents=True, exist_ok=True)
    train_model(system, params, rows, layout.model, load_engine, recent=recent)
    training = Training(
        params=_digest({"seed": params.seed, "split": params.split.model_dump(mode="json")}),
        environment=file_entry(root / params.lock).sha256,
        seed=params.seed,
    )
    _write_json(layout.model / "training.json", training)
    return training


def run_evaluate(root: Path, name: str, load_engine: EngineLoader, open_vault: OpenVault) -> Scores:
    """Stage ``evaluate``: score validation and test with the model as it will be served."""
    system, params, layout = _open(root, name)
    engine, vault = load_engine(layout.model), open_vault(system.schema)
    scores: dict[str, dict[str, float]] = {}
    for part in ("validation", "test"):
        rows = read_rows(system.schema, layout.data, layout.manifest, part, vault)
        answers = engine.predict(rows.tensors)
        found = metrics.compute(system.task, rows.label, answers, threshold=params.evaluation.threshold)
        scores[part] = {metric: found[metric] for metric in system.metrics}
    layout.evaluation.mkdir(parents=True, exist_ok=True)
    # The loop ends on the test window, whose rows the tables for `dvc plots` describe.
    sealed, threshold = system.schema.is_sealed, params.evaluation.threshold
    _write_csv(
        layout.evaluation / "by_month.csv",
        ("month", "rows", *system.metrics),
        (
            (month.month, month.rows, *(month.metrics[metric] for metric in system.metrics))
            for month in monthly.by_month(system.task, rows, answers, threshold=threshold, sealed=sealed)
        ),
    )
    predicted, actual = averaged(system.task, answers, rows.label) if sealed else (answers, rows.label)
    _write_csv(
        layout.evaluation / "residuals.csv",
        ("predicted", "actual"),
        zip(predicted.tolist(), actual.tolist(), strict=True),
    )
    result = Scores(validation=scores["validation"], test=scores["test"])
    _write_json(layout.evaluation / "metrics.json", result)
    return result


def _open(root: Path, name: str) -> tuple[System, SystemParams, Layout]:
    params = load_params(root).system(name)
    return load_system(params.entry, root), params, Layout(root, name)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, value: BaseModel) -> None:
    path.write_text(value.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
