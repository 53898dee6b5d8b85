"""A serving process whose model takes two milliseconds of processor time: easily asked for too much."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.rows import Tensors
from lifecycle.core.settings import Settings
from lifecycle.serving.app import create_app
from lifecycle.serving.engine import load_engine
from lifecycle.serving.server import run_server
from lifecycle.wiring import open_ledger, open_store

SECONDS = 0.002


class SlowEngine:
    """Thinks for a while, then answers as the real one."""

    inline = True

    def __init__(self, folder: Path) -> None:
        self._engine = load_engine(folder)
        self.submit, self.close = self._engine.submit, self._engine.close

    def predict(self, tensors: Tensors) -> NDArray[np.float64]:
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            pass
        return self._engine.predict(tensors)


if __name__ == "__main__":
    settings = Settings()
    app = create_app(
        open_ledger(settings),
        open_store(settings),
        poll_seconds=1.0,
        load_engine=SlowEngine,
        log=settings.log,
    )
    run_server(app, "127.0.0.1", 0)
