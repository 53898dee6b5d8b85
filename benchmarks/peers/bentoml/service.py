"""BentoML, one worker, adaptive batching: ``bentoml serve``, with the release in ``PEER_RELEASE``."""

from typing import Any

import bentoml

from benchmarks.peers.model import frame, load


@bentoml.service(workers=1, traffic={"timeout": 60})
class Prices:
    """Batches what arrives together."""

    def __init__(self) -> None:
        self.model = load()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, records: list[dict[str, Any]]) -> list[float]:
        """A list of one record in, a list of one prediction out, whatever was batched between."""
        return [float(value) for value in self.model.predict(frame(records))]
