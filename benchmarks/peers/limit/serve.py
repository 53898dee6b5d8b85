"""The limit: bare ASGI, msgspec and one ``session.run`` per request, and nothing a production service needs.

``python serve.py PORT``, with the release's folder in ``PEER_RELEASE``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import uvicorn

RELEASE = Path(os.environ["PEER_RELEASE"])
EPOCH = date(1970, 1, 1).toordinal()
KINDS = {"number": float, "integer": int, "boolean": bool, "text": str, "date": date}

fields = [field for field in json.loads((RELEASE / "schema.json").read_bytes())["fields"] if field["feature"]]
Body = msgspec.defstruct("Body", [(field["name"], KINDS[field["kind"]]) for field in fields], gc=False)
numbers = [field["name"] for field in fields if field["kind"] != "text"]
texts = [field["name"] for field in fields if field["kind"] == "text"]
dates = [position for position, field in enumerate(fields) if field["kind"] == "date"]
decode = msgspec.json.Decoder(Body).decode
encode = msgspec.json.Encoder().encode

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    str(RELEASE / "model.onnx"), options, providers=["CPUExecutionProvider"]
)
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


def _number(value: Any) -> float:
    return value.toordinal() - EPOCH if isinstance(value, date) else value


def predict(body: bytes) -> bytes:
    """One record in, one prediction out."""
    record = decode(body)
    row = np.array([[_number(getattr(record, name)) for name in numbers]], dtype=np.float32)
    words = np.array([[getattr(record, name) for name in texts]], dtype=object)
    (answer,) = session.run(["prediction"], {"numbers": row, "categories": words})
    return encode({"prediction": float(answer.item())})


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Every path predicts, but ``GET``, which says that it is up."""
    if scope["type"] != "http":
        raise NotImplementedError
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = predict(body) if scope["method"] == "POST" else b"{}"
    await send({**START, "headers": [*START["headers"], (b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
