"""ONNX converters that skl2onnx lacks: transformed targets and our own estimators.

A wrapper is converted in two steps. Its *parser* has skl2onnx parse what it wraps, so that pipelines and
column transformers nest to any depth; its *converter* adds only what the wrapper itself computes, without
matrix products where it can: a graph that has none may be asked one row as it is (``kernels.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import TransformedTargetRegressor
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lifecycle.core.errors import ConversionError
from lifecycle.training.calibration import register_calibration
from lifecycle.training.nodes import Nodes, parse_wrapped
from lifecycle.training.trend import ObliqueAxes, TrendRegressor

_INVERSES: dict[Any, tuple[tuple[str, float | None], ...]] = {
    None: (),
    np.exp: (("Exp", None),),
    np.expm1: (("Exp", None), ("Sub", 1.0)),
    np.square: (("Pow", 2.0),),
    np.sqrt: (("Sqrt", None),),
    np.log: (("Log", None),),
    np.log1p: (("Add", 1.0), ("Log", None)),
}
"""The ONNX operators, applied in turn, of each inverse of a target transformation."""


def register_converters() -> None:
    """Teach skl2onnx our converters; calling it again changes nothing."""
    update_registered_converter(
        TransformedTargetRegressor,
        "LifecycleTransformedTarget",
        _one_column,
        _convert_target_inverse,
        parser=_parse_transformed_target,
    )
    update_registered_converter(
        TrendRegressor, "LifecycleTrend", _one_column, _convert_trend, parser=_parse_trend
    )
    update_registered_converter(ObliqueAxes, "LifecycleObliqueAxes", _axes_shape, _convert_axes)
    register_calibration()


def _declare(scope: Any, alias: str, model: Any, inputs: list[Any]) -> Any:
    operator = scope.declare_local_operator(alias, model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("prediction", FloatTensorType()))
    return operator.outputs


def _one_column(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), 1])


def _parse_transformed_target(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> Any:
    inner = parse_wrapped(scope, model.regressor_, inputs, custom_parsers)
    return _declare(scope, "LifecycleTransformedTarget", model, inner)


def _convert_target_inverse(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    value = operator.inputs[0].full_name
    for op_type, operand in _inverse_steps(operator.raw_operator.transformer_):
        value = nodes.add(op_type, value, *([] if operand is None else [nodes.constant(operand)]))
    nodes.add("Identity", value, output=operator.outputs[0].full_name)


def _inverse_steps(transformer: Any) -> tuple[tuple[str, float | None], ...]:
    if isinstance(transformer, StandardScaler):
        scale = 1.0 if transformer.scale_ is None else float(transformer.scale_[0])
        mean = 0.0 if transformer.mean_ is None else float(transformer.mean_[0])
        return ("Mul", scale), ("Add", mean)
    if isinstance(transformer, FunctionTransformer) and transformer.inverse_func in _INVERSES:
        return _INVERSES[transformer.inverse_func]
    known = ", ".join(f"np.{function.__name__}" for function in _INVERSES if function)
    raise ConversionError(
        "the inverse of TransformedTargetRegressor's transformation has no ONNX form",
        hint=f"as inverse_func use one of {known}, or StandardScaler() as transformer",
    )


def _parse_trend(scope: Any, model: TrendRegressor, inputs: list[Any], custom_parsers: Any = None) -> Any:
    time = [variable for variable in inputs if variable.raw_name == model.time]
    features = [variable for variable in inputs if variable.raw_name != model.time]
    if len(time) != 1:
        raise ConversionError(
            f"TrendRegressor reads the column {model.time!r} by name, but it stands behind a transformer",
            hint="make it the outermost step, or the regressor of a TransformedTargetRegressor",
        )
    inner = parse_wrapped(scope, model.regressor_, features, custom_parsers)
    return _declare(scope, "LifecycleTrend", model, [*inner, *time])


def _convert_trend(scope: Any, operator: Any, container: Any) -> None:
    """Add the trend: what `TrendRegressor._basis` and its linear model compute."""
    model = operator.raw_operator
    inner, time = (variable.full_name for variable in operator.inputs)
    nodes = Nodes(scope, container)
    linear, waves = model.trend_.coef_[0], model.trend_.coef_[1:].reshape(2, -1)
    # Subtract first: near the origin, float32 then resolves seconds rather than minutes.
    elapsed = nodes.add("Sub", time, nodes.constant(model.origin_))
    terms = [nodes.add("Mul", elapsed, nodes.constant(linear / model.span_))]
    for period, sine, cosine in zip(model.periods, *waves, strict=True):
        angle = nodes.add("Mul", elapsed, nodes.constant(2 * np.pi / period))
        terms.append(nodes.add("Mul", nodes.add("Sin", angle), nodes.constant(sine)))
        terms.append(nodes.add("Mul", nodes.add("Cos", angle), nodes.constant(cosine)))
    intercept = nodes.constant(model.trend_.intercept_)
    nodes.add("Sum", inner, *terms, intercept, output=operator.outputs[0].full_name)


def _axes_shape(operator: Any) -> None:
    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = FloatTensorType([rows, operator.raw_operator.axes_.shape[1]])


def _convert_axes(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    columns = [variable.full_name for variable in operator.inputs]
    if len(columns) == 1:
        columns = [nodes.add("Gather", columns[0], nodes.integers([i]), axis=1) for i in range(2)]
    # Each product is exact, and the sum is rounded once: `ObliqueAxes` says why.
    first, second = (
        nodes.add("Mul", column, nodes.constant(axis[np.newaxis]))
        for column, axis in zip(columns, operator.raw_operator.axes_, strict=True)
    )
    nodes.add("Add", first, second, output=operator.outputs[0].full_name)
