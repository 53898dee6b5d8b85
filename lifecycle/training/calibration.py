"""ONNX form of calibrated classifiers, around anything that converts.

skl2onnx has one for a bare estimator only, without the pipeline that most classifiers come in, and it takes
the nearest step of an isotonic calibration where scikit-learn interpolates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import _converter_pool
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression
from sklearn.pipeline import Pipeline

from lifecycle.core.errors import ConversionError
from lifecycle.training.guards import estimators_in
from lifecycle.training.nodes import Nodes, parse_wrapped

_ALIAS = "LifecycleCalibrated"


def register_calibration() -> None:
    """Teach skl2onnx calibrated classifiers of two classes; calling it again changes nothing."""
    update_registered_converter(
        CalibratedClassifierCV,
        _ALIAS,
        _two_columns,
        _convert,
        parser=_parse,
        options={"zipmap": [True, False]},
    )


def raw_score_options(model: Any) -> dict[int, dict[str, bool]]:
    """Options for skl2onnx: calibrated estimators give the score that scikit-learn calibrates.

    scikit-learn calibrates the decision function where there is one, otherwise the probability.
    """
    options: dict[int, dict[str, bool]] = {}
    for part in estimators_in(model):
        for calibrated in getattr(part, "calibrated_classifiers_", ()):
            last = _last(calibrated.estimator)
            wanted = {"raw_scores": hasattr(last, "decision_function"), "zipmap": False}
            converter = _converter_pool.get(sklearn_operator_name_map.get(type(last)))
            known = (converter.get_allowed_options() if converter else None) or ()
            options[id(last)] = {name: value for name, value in wanted.items() if name in known}
    return options


def _last(estimator: Any) -> Any:
    return _last(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def _parse(scope: Any, model: Any, inputs: list[Any], custom_parsers: Any = None) -> Any:
    if len(model.classes_) != 2 or model.method not in ("sigmoid", "isotonic"):
        raise ConversionError(
            f"CalibratedClassifierCV(method={model.method!r}), {len(model.classes_)} classes: no ONNX form",
            hint="use method='sigmoid' or 'isotonic', with two classes",
        )
    operator = scope.declare_local_operator(_ALIAS, model)
    for calibrated in model.calibrated_classifiers_:
        outputs = parse_wrapped(scope, calibrated.estimator, inputs, custom_parsers)
        operator.inputs.append(outputs[-1])
    operator.outputs.append(scope.declare_local_variable("probabilities", FloatTensorType()))
    return operator.outputs


def _two_columns(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), 2])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Average the calibrated probabilities of all folds, as scikit-learn does."""
    nodes = Nodes(scope, container)
    folds = operator.raw_operator.calibrated_classifiers_
    answers = []
    for variable, calibrated in zip(operator.inputs, folds, strict=True):
        score = nodes.add("Gather", variable.full_name, nodes.integers([1]), axis=1)
        (calibrator,) = calibrated.calibrators
        curve = _isotonic if isinstance(calibrator, IsotonicRegression) else _sigmoid
        answers.append(curve(nodes, score, calibrator))
    total = answers[0] if len(answers) == 1 else nodes.add("Sum", *answers)
    positive = nodes.add("Div", total, nodes.constant(len(folds)))
    negative = nodes.add("Sub", nodes.constant(1.0), positive)
    nodes.add("Concat", negative, positive, axis=1, output=operator.outputs[0].full_name)


def _sigmoid(nodes: Nodes, score: str, calibrator: Any) -> str:
    scaled = nodes.add("Mul", score, nodes.constant(-calibrator.a_))
    return nodes.add("Sigmoid", nodes.add("Add", scaled, nodes.constant(-calibrator.b_)))


def _isotonic(nodes: Nodes, score: str, calibrator: Any) -> str:
    """The first value, plus the share of every rise that the score has climbed: linear between the knots."""
    knots, values = calibrator.X_thresholds_, calibrator.y_thresholds_
    if len(knots) == 1:
        return nodes.add("Add", nodes.add("Mul", score, nodes.constant(0.0)), nodes.constant(values[0]))
    above = nodes.add("Sub", score, nodes.constant(knots[np.newaxis, :-1]))
    share = nodes.add("Div", above, nodes.constant(np.diff(knots)[np.newaxis]))
    climbed = nodes.add("Clip", share, nodes.constant(0.0), nodes.constant(1.0))
    risen = nodes.add("MatMul", climbed, nodes.constant(np.diff(values)[:, np.newaxis]))
    return nodes.add("Add", risen, nodes.constant(values[0]))
