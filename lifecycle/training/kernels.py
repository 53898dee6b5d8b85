"""Which graphs cannot answer a row otherwise because of the rows beside it."""

from __future__ import annotations

import onnx

from lifecycle.training.pack import graphs

_ELEMENTWISE = (
    "Abs Add And Cast Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Identity IsInf IsNaN Less "
    "LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal Relu Round Sigmoid Sign Sin Sqrt Sub Sum Tanh "
    "Where Xor"
)
_MOVING = "ArrayFeatureExtractor Concat Constant Flatten Gather Reshape Split Squeeze Unsqueeze"
_TREES = "TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor"
_ENCODING = (
    "Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder OneHotEncoder Scaler StringNormalizer"
)

ROW_BY_ROW_OPERATORS = frozenset(f"{_ELEMENTWISE} {_MOVING} {_TREES} {_ENCODING}".split())
"""Operators that compute each row by itself, in an order that does not depend on how many rows there are.

Matrix products are none of them: their kernels are chosen by the number of rows, and add up in another order.
On one thread, trees add up in the order they stand in.
"""


def is_row_by_row(model: onnx.ModelProto) -> bool:
    """Whether every operator of a graph is known to compute row by row; one that is not known is not."""
    return all(node.op_type in ROW_BY_ROW_OPERATORS for graph in graphs(model.graph) for node in graph.node)
