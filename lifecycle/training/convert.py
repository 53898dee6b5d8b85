"""A fitted estimator as one self-contained ONNX graph."""

from __future__ import annotations

import re
import warnings
from typing import Any

import onnx
from onnx import helper
from skl2onnx import to_onnx as convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

from lifecycle.core.errors import ConversionError, LifecycleError
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import ROW_BY_ROW
from lifecycle.core.rows import Tensors
from lifecycle.core.system import System, Task
from lifecycle.training.calibration import raw_score_options
from lifecycle.training.converters import register_converters
from lifecycle.training.fold import fold_scalers
from lifecycle.training.foreign import describe
from lifecycle.training.guards import refuse_categorical_splits, with_float32_thresholds
from lifecycle.training.kernels import is_row_by_row
from lifecycle.training.nodes import reads_by_name
from lifecycle.training.pack import CATEGORIES, NUMBERS, pack

TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}
"""Old enough for onnxruntime-web, new enough for all that skl2onnx emits."""


def to_onnx(model: Any, system: System, tensors: Tensors) -> onnx.ModelProto:
    """Convert a fitted estimator or pipeline.

    The same fitted estimator gives the same bytes: names are counted, and nothing of the day or the machine
    goes in.

    Args:
        model: Fitted on the DataFrame of `to_frame`.
        system: Its schema and task shape inputs and output; its name and schema digest become metadata.
        tensors: The training rows; only used to keep their values out of error messages.

    Returns:
        The packed model; see `pack`.

    Raises:
        ConversionError: A part of the estimator has no converter, an option that its converter does not know,
            or is known to convert wrongly; or the categories do not pass through a ColumnTransformer.
    """
    refuse_categorical_splits(model)
    register_converters()
    try:
        packed = pack(
            _converted(with_float32_thresholds(fold_scalers(model)), system), system.schema, system.task
        )
    except LifecycleError:
        raise
    except Exception as error:  # noqa: BLE001 - converters of any library, each with errors of its own
        raise _refusal(error, system, tensors) from None
    facts = {
        "lifecycle.system": system.name,
        "lifecycle.schema": system.schema.digest,
        ROW_BY_ROW: "yes" if is_row_by_row(packed) else "no",
    }
    helper.set_model_props(packed, facts)
    return packed


def _converted(model: Any, system: System) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # protobuf 6 deprecates the booleans that skl2onnx leaves among integers; our pins exclude 7.
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto", DeprecationWarning)
        converted: onnx.ModelProto = convert_sklearn(
            model,
            name=system.name,
            initial_types=_initial_types(model, system.schema),
            target_opset=TARGET_OPSET,
            options=_options(model, system.task),
        )
    return converted


def _refusal(error: Exception, system: System, tensors: Tensors) -> ConversionError:
    if isinstance(error, MissingConverter | MissingShapeCalculator):
        found = re.search(r"<class '([\w.]+)'>", str(error))
        return ConversionError(
            f"{found[1] if found else 'a part of the model'} has no converter to ONNX",
            hint="register one in the system's module with skl2onnx.update_registered_converter "
            "(sklearn-onnx documents how), or use an estimator that sklearn-onnx supports",
        )
    return ConversionError(
        f"the model cannot be converted to ONNX: {describe(error, system.schema, tensors)}",
        hint="change the option or the estimator it names, or use one that sklearn-onnx supports",
    )


def _options(model: Any, task: Task) -> dict[int, dict[str, bool]]:
    """Options of skl2onnx by the identity of the estimator: probabilities come as a tensor."""
    plain = {id(model): {"zipmap": False}} if task == "classification" else {}
    return plain | raw_score_options(model)


def _initial_types(model: Any, schema: RecordSchema) -> list[tuple[str, Any]]:
    """One input per column for models that pick columns by name; otherwise one for all."""
    if reads_by_name(model):
        numbers = [(name, FloatTensorType([None, 1])) for name in schema.numbers]
        return numbers + [(name, StringTensorType([None, 1])) for name in schema.categories]
    if not schema.categories:
        return [(NUMBERS, FloatTensorType([None, len(schema.numbers)]))]
    if not schema.numbers:
        return [(CATEGORIES, StringTensorType([None, len(schema.categories)]))]
    raise ConversionError(
        f"the model gets numbers and categories ({', '.join(schema.categories)}) and treats them alike",
        hint="start the pipeline with a ColumnTransformer that encodes the categories by name",
    )
