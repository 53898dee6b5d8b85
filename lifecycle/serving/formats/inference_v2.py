"""Open Inference Protocol v2 over REST, with the binary tensor extension: Triton's and KServe's clients work.

Source: https://github.com/kserve/open-inference-protocol and Triton's ``extension_binary_data.md``. A model
is a system, and its only version is the registered version of the release that is live.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from lifecycle import __version__
from lifecycle.core.record import FieldSpec
from lifecycle.serving.exchange import Answers, Asked, Reply, Request
from lifecycle.serving.formats.inference_inputs import columns_of
from lifecycle.serving.formats.inference_message import parse
from lifecycle.serving.formats.inference_outputs import Wanted, encode, wanted_of
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import ProblemError, in_words

_TYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}


class InferenceV2:
    """Tensors in, one per feature or the two packed ones; ``prediction`` and its companions out."""

    name = "inference-v2"
    heavy = False

    def read(self, live: LiveRelease, request: Request) -> Asked:
        """Decode tensors and check their values as the typed endpoint does."""
        check_version(live, _version_in(request.path))
        message = parse(request)
        wanted = wanted_of(message, classifies=live.manifest.task == "classification")
        return live.columns.read(columns_of(live.schema, live.columns.fields, message), context=wanted)

    def write(self, live: LiveRelease, _request: Request, asked: Asked, answers: Answers) -> Reply:
        """The outputs asked for, as JSON or binary."""
        assert isinstance(asked.context, Wanted)
        return encode(live, asked.context, answers)

    def refuse(self, problem: ProblemError) -> Reply:
        """``{"error": ...}``; what does not fit the model has status 400, as Triton says it."""
        reply = problem.reply()
        status = 400 if problem.status == HTTPStatus.UNPROCESSABLE_ENTITY else int(problem.status)
        return _json({"error": "; ".join(in_words(problem.problem))}, status, reply.headers)


def server() -> Reply:
    """``/v2``."""
    return _json({"name": "lifecycle", "version": __version__, "extensions": ["binary_tensor_data"]})


def alive() -> Reply:
    """``/v2/health/live``."""
    return _json({"live": True})


def ready(is_ready: bool) -> Reply:
    """``/v2/health/ready``."""
    return _json({"ready": is_ready}, 200 if is_ready else 503)


def model(live: LiveRelease, version: str | None) -> Reply:
    """``/v2/models/{system}[/versions/{version}]``: the tensors it takes, one per feature, and gives.

    Raises:
        ProblemError: 404; another version is live.
    """
    check_version(live, version)
    outputs = [_tensor("prediction", "FP64")]
    if live.manifest.task == "classification":
        outputs.append(_tensor("decision", "BOOL"))
    return _json(
        {
            "name": live.deployment.system,
            "versions": [live.deployment.version],
            "platform": "lifecycle",
            "inputs": [_tensor(spec.name, datatype_of(spec)) for spec in live.schema.features],
            "outputs": [*outputs, _tensor("prediction_id", "BYTES")],
            "parameters": {"release": live.digest},
        }
    )


def model_ready(live: LiveRelease, version: str | None) -> Reply:
    """``/v2/models/{system}[/versions/{version}]/ready``: a live release answers.

    Raises:
        ProblemError: 404; another version is live.
    """
    check_version(live, version)
    return _json({"name": live.deployment.system, "ready": True})


def datatype_of(spec: FieldSpec) -> str:
    """The datatype that can hold every value of a field; NaN, or the empty text, is a missing one."""
    if spec.optional and spec.is_number and spec.kind not in ("date", "datetime"):
        return "FP64"
    return _TYPES.get(spec.kind, "BYTES")


def check_version(live: LiveRelease, version: str | None) -> None:
    """Only the version that is live answers.

    Raises:
        ProblemError: 404.
    """
    if version is not None and version != live.deployment.version:
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            f"this version of {live.deployment.system} is not live: version {live.deployment.version} is",
        )


def _version_in(path: str) -> str | None:
    parts = path.split("/")
    return parts[5] if len(parts) > 6 and parts[4] == "versions" else None


def _tensor(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}


def _json(content: Any, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> Reply:
    return Reply(status, msgspec.json.encode(content), b"application/json", headers or [])
