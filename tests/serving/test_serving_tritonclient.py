"""The public client of the Open Inference Protocol, over a socket, against the service itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.serving.conftest import ANSWER, HOME, eventually, promote

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ROWS = 3


@pytest.fixture
def server(client, ledger, releases) -> Iterator[Any]:
    """Triton's client, connected to the service that a release was promoted in."""
    promote(ledger, releases.write(task="classification", threshold=float(ANSWER)))
    eventually(lambda: client.get("/v1/homes").is_success)
    with triton.InferenceServerClient(client.base_url.netloc.decode()) as server:
        yield server


def features() -> dict[str, np.ndarray[Any, Any]]:
    kinds = {
        "sold_on": object,
        "wall": object,
        "area": np.float32,
        "beds": np.int64,
        "garden": bool,
        "depth": np.float64,
    }
    return {name: np.array([HOME[name]] * ROWS, dtype=kind) for name, kind in kinds.items()}


def inputs(arrays: dict[str, np.ndarray[Any, Any]], *, binary: bool) -> list[Any]:
    made = []
    for name, array in arrays.items():
        made.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(array, binary_data=binary)
    return made


def test_it_finds_the_server_and_the_model_ready(server):
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("homes")
    assert server.is_model_ready("homes", "1")
    assert not server.is_model_ready("homes", "2")
    assert not server.is_model_ready("home")
    assert server.get_server_metadata()["name"] == "lifecycle"
    metadata = server.get_model_metadata("homes", "1")
    assert {entry["name"]: entry["datatype"] for entry in metadata["inputs"]} == {
        "sold_on": "BYTES",
        "area": "FP64",
        "beds": "INT64",
        "garden": "BOOL",
        "wall": "BYTES",
        "depth": "FP64",
        "note": "BYTES",
    }


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False, None], ids=["to binary", "to json", "to the default"])
def test_it_asks_and_reads_the_answer(server, binary_in, binary_out):
    outputs = None
    if binary_out is not None:
        names = ("prediction", "decision", "prediction_id")
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]

    answer = server.infer("homes", inputs(features(), binary=binary_in), outputs=outputs, request_id="r-7")

    assert answer.as_numpy("prediction").tolist() == [ANSWER] * ROWS
    assert answer.as_numpy("prediction").dtype == np.float64
    assert answer.as_numpy("decision").tolist() == [True] * ROWS
    assert len(set(answer.as_numpy("prediction_id").tolist())) == ROWS
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r-7", "homes", "1")
    assert len(response["parameters"]["release"]) == 64


def test_it_sends_the_packed_inputs_too(server):
    packed = {
        "numbers": np.array([[9526, 1000, 3, 1, 50]] * ROWS, np.float32),
        "categories": np.array([["brick", ""]] * ROWS, object),
    }
    answer = server.infer("homes", inputs(packed, binary=True), model_version="1")

    assert answer.as_numpy("prediction").tolist() == [ANSWER] * ROWS


def test_it_understands_why_it_is_refused(server):
    bad = features() | {"area": np.full(ROWS, 5, np.float32)}
    with pytest.raises(
        InferenceServerException, match="area should be greater than or equal to 100"
    ) as refused:
        server.infer("homes", inputs(bad, binary=True))
    assert refused.value.status() == "400"
    for name, version in (("home", ""), ("homes", "9")):
        with pytest.raises(InferenceServerException) as refused:
            server.infer(name, inputs(features(), binary=True), model_version=version)
        assert refused.value.status() == "404"
    with pytest.raises(InferenceServerException, match="encoding"):
        server.infer("homes", inputs(features(), binary=True), request_compression_algorithm="gzip")
