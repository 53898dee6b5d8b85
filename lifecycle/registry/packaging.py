"""The folder of a registered version: the release as it is, and beside it what MLflow needs to load it.

    MLmodel                     flavour, signature, digest of the release
    requirements.txt            what to install, given, never inferred
    python_env.yaml
    input_example.json          made up from the record's bounds, never a real record
    serving_input_example.json
    release/                    the release, byte for byte: servers fetch this folder, without MLflow

There is no pickle and no copy of code: ``lifecycle.mlflow_loader`` verifies and loads the release.
"""

from __future__ import annotations

import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.synthetic import synthetic_records
from lifecycle.core.values import Release

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LOADER = "lifecycle.mlflow_loader"
RELEASE_FOLDER = "release"
_ESTIMATOR = ("pandas", "scikit-learn", "skops")
_TYPES = {
    "number": "double",
    "integer": "long",
    "boolean": "boolean",
    "text": "string",
    "date": "datetime",
    "datetime": "datetime",
}


def signature_of(schema: RecordSchema) -> ModelSignature:
    """The MLflow signature of a record's features.

    Dates and times are ``datetime``: a pandas column of dates fits as it is, and the JSON that
    ``mlflow models serve`` takes may write them as ISO 8601 text. An integer that may be missing is
    ``double``, since pandas has no missing integer.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(_type_of(spec), spec.name, required=not spec.optional) for spec in schema.features
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec("double", "prediction")]))


def _type_of(spec: FieldSpec) -> str:
    return "double" if spec.kind == "integer" and spec.optional else _TYPES[spec.kind]


def example_of(schema: RecordSchema) -> dict[str, Any] | None:
    """A made-up valid request as JSON values; None if the record's patterns cannot be made up."""
    features = [spec.name for spec in schema.features]
    whole = [record for record in synthetic_records(schema, 50) if None not in record.values()]
    if not whole:
        return None
    record = {name: whole[0][name] for name in features}
    try:
        schema.request_model(keys=False).model_validate(record)
    except ValidationError:
        return None
    return {name: _as_json(value) for name, value in record.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, date):  # a datetime is one
        return value.isoformat().removesuffix("+00:00")
    return value


def write_model_folder(
    folder: Path, schema: RecordSchema, release: Release, *, run_id: str, model_id: str, engine: str = "onnx"
) -> None:
    """Write everything but ``release/`` into an empty folder.

    Args:
        folder: The empty folder.
        schema: Of the release's records.
        release: What is registered.
        run_id: MLflow's run.
        model_id: MLflow's model.
        engine: What runs the release; scikit-learn is required only where it does.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    example = example_of(schema)
    model = Model(
        run_id=run_id,
        model_id=model_id,
        signature=signature_of(schema),
        metadata={"system": release.system, "release": release.digest},
        saved_input_example_info=_write_example(folder, example) if example else None,
    )
    pyfunc.add_to_model(model, loader_module=LOADER, data=RELEASE_FOLDER, python_env="python_env.yaml")
    model.save(str(folder / "MLmodel"))
    requirements = [f"lifecycle[serving]=={version('lifecycle')}", f"mlflow=={version('mlflow')}"]
    if engine == "skops":  # the very versions that wrote the estimator: it answers as they do
        requirements += [f"{name}=={version(name)}" for name in _ESTIMATOR]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")


def _write_example(folder: Path, example: dict[str, Any]) -> dict[str, Any]:
    split = {"columns": list(example), "data": [list(example.values())]}
    (folder / "input_example.json").write_text(json.dumps(split), encoding="utf-8")
    served = json.dumps({"dataframe_split": split}, indent=2)
    (folder / "serving_input_example.json").write_text(served, encoding="utf-8")
    return {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
    }
