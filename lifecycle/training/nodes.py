"""What every converter of ours needs to extend a graph under construction."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx._parse import _parse_sklearn
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from lifecycle.training.trend import TrendRegressor


class Nodes:
    """Adds nodes and constants under unique names.

    Args:
        scope: Of skl2onnx; it gives the names.
        container: Of skl2onnx; it takes the nodes.
    """

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def add(self, op_type: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node of the standard operator set; the name of its output."""
        name = str(output or self._scope.get_unique_variable_name(op_type.lower()))
        unique = self._scope.get_unique_operator_name(op_type)
        version = self._container.target_opset
        self._container.add_node(op_type, list(inputs), name, name=unique, op_version=version, **attributes)
        return name

    def constant(self, value: Any) -> str:
        """Add a float32 constant; its name."""
        return self._initializer(np.asarray(value, dtype=np.float32), TensorProto.FLOAT)

    def integers(self, value: Any) -> str:
        """Add an int64 constant, such as an index; its name."""
        return self._initializer(np.asarray(value, dtype=np.int64), TensorProto.INT64)

    def _initializer(self, array: Any, kind: int) -> str:
        name = str(self._scope.get_unique_variable_name("constant"))
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name


def reads_by_name(model: Any) -> bool:
    """Whether a fitted model picks its columns by name, so that each must stay an input of its own.

    Example:
        >>> from sklearn.compose import TransformedTargetRegressor
        >>> from sklearn.linear_model import Ridge
        >>> reads_by_name(Ridge()), reads_by_name(TransformedTargetRegressor(ColumnTransformer([])))
        (False, True)
    """
    if isinstance(model, ColumnTransformer | TrendRegressor):
        return True
    if isinstance(model, Pipeline):
        return bool(model.steps) and reads_by_name(model.steps[0][1])
    wrapped = [getattr(model, name, None) for name in ("regressor", "estimator")]
    wrapped += [estimator for _, estimator in getattr(model, "estimators", None) or ()]
    return any(reads_by_name(part) for part in wrapped if part is not None)


def parse_wrapped(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any) -> list[Any]:
    """Parse what a wrapper holds, to any depth; columns are merged where it wants them as one tensor.

    Args:
        scope: Of skl2onnx.
        model: The fitted estimator inside the wrapper.
        inputs: The wrapper's inputs, one variable per column or one for all.
        custom_parsers: As handed to the wrapper's parser.

    Returns:
        The output variables: one of a regressor; label and probabilities of a classifier.
    """
    if len(inputs) > 1 and not reads_by_name(model):
        merge = scope.declare_local_operator("SklearnConcat")
        merge.inputs = inputs
        merge.outputs.append(scope.declare_local_variable("columns", inputs[0].type.__class__()))
        inputs = merge.outputs
    return list(_parse_sklearn(scope, model, inputs, custom_parsers=custom_parsers))
