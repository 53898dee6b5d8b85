"""Checks that every system must pass: run them on your own, as the reference systems do.

from lifecycle.checks import check_system

def test_my_system():
check_system(SYSTEM)
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np

from lifecycle.core.errors import LifecycleError, TerminalError
from lifecycle.core.params import SourceParams, SplitParams, SystemParams
from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Rows, encode_records, to_moments
from lifecycle.core.synthetic import synthetic_records
from lifecycle.core.system import System

ROWS = 400
COMPARED_ROWS = 2_000
"""Of ONNX and estimator: a first look. Training compares many more."""


class CheckFailedError(TerminalError):
    """A system does not keep what the loop relies on; every failed check is listed."""


def check_system(system: System) -> None:
    """Run every check on a system with made-up records of its own schema.

    Raises:
        CheckFailedError: At least one failed; all are named with what to mend.
    """
    faults = []
    for check in (check_declaration, check_requests, check_model, check_determinism):
        try:
            check(system)
        except (LifecycleError, AssertionError) as error:
            faults.append(f"{check.__name__}: {error}")
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise CheckFailedError(
            f"system {system.name!r} fails {len(faults)} checks:\n{listed}",
            hint="docs/your-own-system.md shows a system that passes",
        )


def check_declaration(system: System) -> None:
    """The record has its roles, and its schema travels inside a release."""
    schema = system.schema
    assert RecordSchema.model_validate_json(schema.model_dump_json()) == schema, (
        "the schema must survive JSON"
    )
    assert schema.label.delay >= timedelta(0), "a label cannot be known before its event"


def check_requests(system: System) -> None:
    """Every record that training may see, the endpoint accepts."""
    schema = system.schema
    request = schema.request_model()
    for record in synthetic_records(schema, 50):
        given = {name: record[name] for name in request.model_fields}
        request.model_validate_json(request.model_validate(given).model_dump_json())


def check_model(system: System) -> None:
    """The model fits, and as it is served answers every row with a finite number."""
    rows = synthetic_rows(system)
    answers = _fit_and_answer(system, rows)
    assert answers.shape == (len(rows),), f"one answer per row is expected, not {answers.shape}"
    assert np.isfinite(answers).all(), "an answer is not a finite number"
    if system.task == "classification":
        assert ((answers >= 0) & (answers <= 1)).all(), "a probability is between 0 and 1"


def check_determinism(system: System) -> None:
    """One seed and the same rows give the same model."""
    rows = synthetic_rows(system)
    first, second = _fit_and_answer(system, rows), _fit_and_answer(system, rows)
    worst = float(np.max(np.abs(first - second)))
    assert worst == 0, f"two fits differ by up to {worst:g}: pass the seed on as random_state"


def synthetic_rows(system: System, count: int = ROWS) -> Rows:
    """Made-up labelled rows of a system's schema.

    Args:
        system: Whose schema and task.
        count: How many rows.
    """
    schema = system.schema
    records = synthetic_records(schema, count)
    tensors = encode_records(schema, records)
    label = np.array([float(record[schema.label.name]) for record in records])
    if system.task == "classification":
        label = (np.arange(count) % 2).astype(np.float64)
    return Rows(
        ids=np.array([str(record[schema.record_id.name]) for record in records]),
        event_time=to_moments([record[schema.event_time.name] for record in records]),
        tensors=tensors,
        label=label,
        weight=np.ones(count),
    )


def _fit_and_answer(system: System, rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    from lifecycle.training.fit import train_model
    from lifecycle.wiring import engine_loader

    params = SystemParams(
        entry="a.system:SYSTEM",
        code="a/system",
        sources=(SourceParams(origin="user", kind="csv", path="none.csv"),),
        split=SplitParams(validation_days=1, test_days=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        load_engine = engine_loader(Path.cwd())
        train_model(system, params, rows, Path(folder), load_engine, least=COMPARED_ROWS)
        return load_engine(Path(folder)).predict(rows.tensors)
