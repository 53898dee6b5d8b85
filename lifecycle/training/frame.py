"""The table an estimator is fitted on and asked with, made from the very tensors that serving sends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Tensors
from lifecycle.core.system import Task


def to_frame(schema: RecordSchema, tensors: Tensors) -> pd.DataFrame:
    """One named column per feature: the numbers as float32, then the categories as Python text.

    Args:
        schema: Gives the names, in the order of the packed inputs.
        tensors: The packed inputs; a missing number is NaN and a missing category ``""``.

    Returns:
        A DataFrame of ``len(tensors)`` rows.

    Example:
        >>> import numpy as np
        >>> from lifecycle.core.record import FieldSpec
        >>> specs = (FieldSpec(name="wall", kind="text", feature=True),
        ...          FieldSpec(name="area", kind="number", feature=True))
        >>> tensors = Tensors(np.array([[70.0]], dtype=np.float32), np.array([["brick"]], dtype=object))
        >>> to_frame(RecordSchema(name="r", fields=specs), tensors).dtypes.astype(str).to_dict()
        {'area': 'float32', 'wall': 'object'}
    """
    columns = {name: pd.Series(tensors.numbers[:, i]) for i, name in enumerate(schema.numbers)}
    for i, name in enumerate(schema.categories):
        # Explicitly object: pandas would otherwise choose its own text type, which some encoders refuse.
        columns[name] = pd.Series(tensors.categories[:, i], dtype=object)
    return pd.DataFrame(columns)


def answers_of(model: Any, schema: RecordSchema, task: Task, tensors: Tensors) -> NDArray[np.float64]:
    """What the estimator answers: the value, or the probability of 1; float64 ``[rows]``."""
    frame = to_frame(schema, tensors)
    answers = model.predict(frame) if task == "regression" else model.predict_proba(frame)[:, 1]
    return np.asarray(answers, dtype=np.float64).reshape(len(tensors))
