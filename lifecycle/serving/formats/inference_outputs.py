"""The outputs of an inference: which are wanted, and how they are written."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from lifecycle.serving.exchange import Answers, Reply
from lifecycle.serving.formats.inference_message import HEADER_LENGTH, Message, Output, bad
from lifecycle.serving.live_release import LiveRelease


class Wanted(msgspec.Struct):
    """What the answer shall hold.

    Attributes:
        id: The request's id, given back.
        outputs: Names, and whether each is wanted as binary.
    """

    id: str | None
    outputs: dict[str, bool]


def wanted_of(message: Message, *, classifies: bool) -> Wanted:
    """What a request wants; without ``outputs`` everything.

    Args:
        message: The request.
        classifies: Whether the model makes decisions too.

    Raises:
        ProblemError: 400; an output is asked for that the model has not, or in a way that is not known here.
    """
    known = ["prediction", *(["decision"] if classifies else []), "prediction_id"]
    binary = _flag(message.parameters, "binary_data_output", default=False)
    outputs = message.outputs or [Output(name) for name in known]
    wanted: dict[str, bool] = {}
    for output in outputs:
        if output.name not in known:
            raise bad(f"output {output.name[:64]!r} is not one of {', '.join(known)}")
        if (
            output.parameters.get("classification")
            or output.parameters.get("shared_memory_region") is not None
        ):
            raise bad(f"output {output.name!r}: classification and shared memory are not done here")
        wanted[output.name] = _flag(output.parameters, "binary_data", default=binary)
    return Wanted(message.id, wanted)


def encode(live: LiveRelease, wanted: Wanted, answers: Answers) -> Reply:
    """The reply: JSON, and behind it the binary outputs."""
    outputs, binary = [], []
    for name, is_binary in wanted.outputs.items():
        datatype, values = _values(live, name, answers)
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(answers.values)]}
        if is_binary:
            data = _bytes(values)
            output["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            output["data"] = values if isinstance(values, list) else values.tolist()
        outputs.append(output)
    parameters = {"release": live.digest, "version": live.deployment.version}
    if len(answers.prediction_ids) == 1:
        parameters["prediction_id"] = answers.prediction_ids[0]
    content = {
        "model_name": live.deployment.system,
        "model_version": live.deployment.version,
        **({"id": wanted.id} if wanted.id is not None else {}),
        "parameters": parameters,
        "outputs": outputs,
    }
    head = msgspec.json.encode(content)
    if not binary:
        return Reply(200, head)
    length = [(HEADER_LENGTH, str(len(head)).encode())]
    return Reply(200, b"".join([head, *binary]), b"application/octet-stream", length)


def _values(live: LiveRelease, name: str, answers: Answers) -> tuple[str, Any]:
    match name:
        case "prediction":
            return "FP64", answers.values
        case "decision":
            return "BOOL", answers.values >= live.manifest.threshold
        case _:
            return "BYTES", answers.prediction_ids


def _bytes(values: Any) -> bytes:
    if isinstance(values, np.ndarray):
        return values.astype(values.dtype.newbyteorder("<")).tobytes()
    parts = [text.encode() for text in values]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise bad(f"{name} should be true or false")
    return value
