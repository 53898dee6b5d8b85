"""Two packed inputs and one output for every model, whatever went into it.

Binding one input per column costs a single-row request more than running the trees, and a server that
knows two inputs by name needs no code per model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lifecycle.core.record import RecordSchema
from lifecycle.core.system import Task

NUMBERS = "numbers"
CATEGORIES = "categories"
PREDICTION = "prediction"
_CONSTANTS: dict[str, NDArray[Any]] = {
    "one": np.array(1, dtype=np.int64),
    "low": np.array(0, dtype=np.float32),
    "high": np.array(1, dtype=np.float32),
    "flat": np.array([-1], dtype=np.int64),
}


def pack(model: onnx.ModelProto, schema: RecordSchema, task: Task) -> onnx.ModelProto:
    """Give a converted model the inputs and output that every engine expects.

    Args:
        model: With one ``[N, 1]`` input per column, numbers first, or with one input of all columns where
            there are only numbers or only categories. Its last output is the value ``[N, 1]`` (regression)
            or the probabilities of 0 and 1 ``[N, 2]`` (classification). It is left as it is.
        schema: Says how many columns there are of each kind.
        task: Says which of the two outputs it is.

    Returns:
        The model with the inputs ``numbers`` (float32 ``[N, n]``) and ``categories`` (text ``[N, m]``), the
        one without columns left out, and the output ``prediction`` (float32 ``[N]``). Names inside follow
        from the structure alone.
    """
    packed = onnx.ModelProto()
    packed.CopyFrom(model)
    graph = packed.graph
    _rename(graph, _new_names(graph))
    # By position: skl2onnx may rename an input that is called like an inner result.
    columns = [value.name for value in graph.input]
    del graph.input[:]
    groups = (
        (NUMBERS, len(schema.numbers), TensorProto.FLOAT),
        (CATEGORIES, len(schema.categories), TensorProto.STRING),
    )
    for group, width, kind in groups:
        if width:
            graph.input.append(helper.make_tensor_value_info(group, kind, ["N", width]))
            # One input for all columns takes the whole group; then there is no other group.
            taken, columns = columns[:width], columns[width:]
            graph.node.insert(0, _distribute(group, taken))
    _answer(graph, task)
    # skl2onnx lists the operator sets in the order of a Python set, another in every process.
    operator_sets = sorted(packed.opset_import, key=lambda it: it.domain)
    del packed.opset_import[:]
    packed.opset_import.extend(operator_sets)
    onnx.checker.check_model(packed, full_check=True)
    return packed


def _distribute(group: str, outputs: list[str]) -> onnx.NodeProto:
    if len(outputs) == 1:
        return helper.make_node("Identity", [group], outputs, name=f"pass_{group}")
    return helper.make_node(
        "Split", [group], outputs, name=f"split_{group}", axis=1, num_outputs=len(outputs)
    )


def _answer(graph: onnx.GraphProto, task: Task) -> None:
    """Append the nodes from the model's last output to ``prediction``, and make that the only output."""
    last = graph.output[-1]
    value = last.name
    del graph.output[:]
    nodes: list[tuple[str, str, tuple[str, ...], dict[str, Any]]] = []
    if task == "classification":
        nodes.append(("Gather", "positive", ("one",), {"axis": 1}))
    if last.type.tensor_type.elem_type != TensorProto.FLOAT:
        nodes.append(("Cast", "float", (), {"to": TensorProto.FLOAT}))
    if task == "classification":
        # A sum of float32 shares may come out as 1.0000001, which no log loss can take.
        nodes.append(("Clip", "probability", ("low", "high"), {}))
    nodes.append(("Reshape", PREDICTION, ("flat",), {}))
    for op_type, output, constants, attributes in nodes:
        graph.node.append(helper.make_node(op_type, [value, *constants], [output], name=output, **attributes))
        graph.initializer.extend(numpy_helper.from_array(_CONSTANTS[name], name) for name in constants)
        value = output
    graph.output.append(helper.make_tensor_value_info(PREDICTION, TensorProto.FLOAT, ["N"]))


def _new_names(graph: onnx.GraphProto) -> dict[str, str]:
    """A new name for every value: which input, constant or node it comes from.

    skl2onnx counts some names through the whole process, so a refit would not give the same bytes; and a
    feature may be called as a packed input is. No two values share a new name, so no reference can stray.
    """
    names = {value.name: f"column/{value.name}" for value in graph.input}
    for i, part in enumerate(graphs(graph)):
        for value in part.input:
            names.setdefault(value.name, f"graph{i}/{value.name}")
        for constant in part.initializer:
            names.setdefault(constant.name, f"constant/{len(names)}")
        for node in part.node:
            for output in filter(None, node.output):
                names.setdefault(output, f"{node.op_type}/{len(names)}")
    return names


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for part in graphs(graph):
        for value in (*part.input, *part.output, *part.initializer):
            value.name = names[value.name]
        del part.value_info[:]
        for node in part.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            node.name = node.output[0]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and, depth first, the bodies of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner)
