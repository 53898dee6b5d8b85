"""What MLflow calls to load a registered version: the release is verified, then answers as the endpoint does.

Named in every version's ``MLmodel``, so it stays importable under this name. The trusted keys are those of
the project it is used in (``LIFECYCLE_PROJECT``, or the current folder).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError, SourceError
from lifecycle.core.ports import Engine
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.release import read_schema, verify_release
from lifecycle.core.rows import encode_records
from lifecycle.core.settings import Settings


class Column(Protocol):
    """What is needed of a pandas Series."""

    def isna(self) -> Any:
        """Which values are missing."""
        ...

    def tolist(self) -> list[Any]:
        """The values as Python's own."""
        ...


class ReleaseModel:
    """A release that answers pandas DataFrames.

    Args:
        schema: The record's schema.
        engine: The loaded model.
    """

    def __init__(self, schema: RecordSchema, engine: Engine) -> None:
        self._schema = schema
        self._engine = engine
        self._request = schema.request_model(keys=False)

    def predict(self, frame: Mapping[str, Column]) -> NDArray[np.float64]:
        """One answer per row, checked and encoded as the endpoint does.

        Args:
            frame: A DataFrame with one column per feature; an optional one may be absent, others are ignored.

        Returns:
            float64 ``[rows]``: the value (regression) or the probability of 1 (classification).

        Raises:
            SourceError: A value is missing or out of its bounds; row and field are named, not the value.
        """
        features = [spec for spec in self._schema.features if spec.name in frame]
        columns = [_values(spec, frame[spec.name]) for spec in features]
        names = [spec.name for spec in features]
        records = [
            self._checked(number, dict(zip(names, row, strict=True)))
            for number, row in enumerate(zip(*columns, strict=True))
        ]
        return self._engine.predict(encode_records(self._schema, records))

    def _checked(self, number: int, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._request.model_validate(row).model_dump()
        except ValidationError as error:
            raise _refusal(number, error) from None


def _load_pyfunc(path: str) -> ReleaseModel:
    """Verify and load the release in a registered version's folder.

    Raises:
        IntegrityError: It is not the release that was registered, or not signed by a trusted key.
    """
    from lifecycle.records.signing import Ed25519Signer
    from lifecycle.wiring import open_engine

    folder = Path(path)
    try:
        digest = yaml.safe_load((folder.parent / "MLmodel").read_bytes())["metadata"]["release"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise IntegrityError(
            "the version's MLmodel file does not name its release", hint="register the release again"
        ) from None
    settings = Settings()
    verify_release(folder, str(digest), Ed25519Signer(settings.keys))
    return ReleaseModel(read_schema(folder), open_engine(folder, settings.project))


def _values(spec: FieldSpec, column: Column) -> list[Any]:
    """A column as Python's own values; pandas has no dates, only moments, and NaN for what is missing."""
    values = [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]
    if spec.kind == "date":
        return [value.date() if isinstance(value, datetime) else value for value in values]
    return values


def _refusal(number: int, error: ValidationError) -> SourceError:
    faults = [
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    ]
    return SourceError(
        f"row {number} does not fit the record:\n  " + "\n  ".join(faults),
        hint="the model's signature and GET /v1/{system} name every field and its bounds",
    )
