"""What the peers share: the estimator of a release, and a table of one row per record as it wants it.

Runs in the peers' environments, with the repository on the import path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.training.persist import load_estimator

RELEASE = Path(os.environ.get("PEER_RELEASE", "."))
"""The release's folder."""

_FIELDS = [
    field for field in json.loads((RELEASE / "schema.json").read_bytes())["fields"] if field["feature"]
]
NUMBERS = [field["name"] for field in _FIELDS if field["kind"] != "text"]
TEXTS = [field["name"] for field in _FIELDS if field["kind"] == "text"]
DATES = [field["name"] for field in _FIELDS if field["kind"] == "date"]


def load() -> Any:
    """The fitted scikit-learn pipeline."""
    return load_estimator(RELEASE)


def frame(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The columns that the pipeline reads; a date is days since 1970."""
    table = pd.DataFrame.from_records(records, columns=[*NUMBERS, *TEXTS])
    for name in DATES:
        table[name] = [(date.fromisoformat(day) - date(1970, 1, 1)).days for day in table[name]]
    return table.astype(dict.fromkeys(NUMBERS, "float32") | dict.fromkeys(TEXTS, "object"))
