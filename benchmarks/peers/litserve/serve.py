"""LitServe, one worker, without batching: ``python serve.py PORT``, the release in ``PEER_RELEASE``."""

import sys
from typing import Any

import litserve

from benchmarks.peers.model import frame, load


class Prices(litserve.LitAPI):
    """One record in, one prediction out."""

    def setup(self, device: str) -> None:  # noqa: ARG002, D102
        self.model = load()

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: D102
        return request

    def predict(self, record: dict[str, Any]) -> float:  # noqa: D102
        return float(self.model.predict(frame([record]))[0])

    def encode_response(self, output: float) -> dict[str, float]:  # noqa: D102
        return {"prediction": output}


if __name__ == "__main__":
    server = litserve.LitServer(Prices(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
