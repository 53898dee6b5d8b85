"""What most tutorials show: FastAPI, a pydantic model, a DataFrame and ``model.predict`` per request.

``python serve.py PORT``, with the release's folder in ``PEER_RELEASE``.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import create_model

from benchmarks.peers.model import DATES, NUMBERS, TEXTS, frame, load

app = FastAPI()
model = load()
types: dict[str, Any] = dict.fromkeys(NUMBERS, (float, ...)) | dict.fromkeys([*TEXTS, *DATES], (str, ...))
House = create_model("House", **types)


@app.get("/")
def up() -> dict[str, str]:
    """Whether it is up."""
    return {"status": "ok"}


@app.post("/predict")
def predict(house: House) -> dict[str, float]:  # type: ignore[valid-type]
    """One record in, one prediction out."""
    return {"prediction": float(model.predict(frame([house.model_dump()]))[0])}  # type: ignore[attr-defined]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
