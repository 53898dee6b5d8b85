"""A system is declared once, loaded by its entry, and its errors say what to mend."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Annotated

import pytest

from lifecycle.core import errors
from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import ConfigError, DeclarationError, LifecycleError
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.system import System, load_system

HEAVY = [
    "mlflow",
    "prefect",
    "dvc",
    "sklearn",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "skops",
    "polars",
    "pyarrow",
    "pandas",
    "matplotlib",
    "sqlalchemy",
    "fastapi",
    "uvicorn",
    "supervisor",
]
ROOMS = [
    "core",
    "data",
    "training",
    "evaluation",
    "registry",
    "rollout",
    "serving",
    "records",
    "steps",
    "supervise",
    "scaffold",
]


class Thing(Record):
    """A thing."""

    key: Annotated[str, RecordId()]
    on: Annotated[date, EventTime()]
    size: Annotated[float, Feature()]
    price: Annotated[float, Label()]


def system(**changes):
    facts = {"name": "things", "record": Thing, "task": "regression", "build_model": lambda seed: seed}
    return System(**{**facts, "metrics": ("mae",), "primary": "mae", **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Big Things"}, "must be lower-case words joined by dashes"),
        ({"task": "ranking"}, "task 'ranking' is not one of regression, classification"),
        ({"metrics": ("mea",), "primary": "mea"}, "did you mean 'mae'"),
        ({"primary": "rmse"}, "primary metric 'rmse' is not among the metrics"),
    ],
)
def test_a_wrong_declaration_says_why(changes, said):
    with pytest.raises(DeclarationError, match=said):
        system(**changes)


def test_a_system_is_loaded_by_its_entry(tmp_path):
    (tmp_path / "lonely_module.py").write_text("SYSTME = 1\n")
    with pytest.raises(ConfigError, match="does not name a System; did you mean 'SYSTME'"):
        load_system("lonely_module:SYSTEM", tmp_path)
    with pytest.raises(ConfigError, match="no module named 'nowhere_at_all'"):
        load_system("nowhere_at_all:SYSTEM", tmp_path)


def test_moments_are_utc():
    assert parse_moment("1996-01-01") == datetime(1996, 1, 1, tzinfo=UTC)
    assert parse_moment("1996-01-01T02:00+02:00") == datetime(1996, 1, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match="is not a date or time"):
        parse_moment("yesterday")


def test_every_error_is_terminal_or_transient_and_survives_a_process_boundary():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in kinds:
        error = pickle.loads(pickle.dumps(kind("what happened", hint="what to do")))
        assert type(error) is kind
        assert "what to do" in str(error)
        if kind is not LifecycleError:
            assert issubclass(kind, errors.TerminalError | errors.TransientError)
            assert f" {kind.__name__} " in errors.__doc__


@pytest.mark.parametrize("module", ["lifecycle", "lifecycle.cli", *(f"lifecycle.{room}" for room in ROOMS)])
def test_importing_a_room_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == []
