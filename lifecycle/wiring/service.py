"""The prediction service: run it, in one process or several, and find out what it can bear."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from lifecycle.core.machine import cores
from lifecycle.core.params import load_params
from lifecycle.core.settings import Settings, environment_of
from lifecycle.wiring.adapters import (
    custody_opener,
    engine_loader,
    estimator_command,
    made,
    open_ledger,
    open_store,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from lifecycle.core.capacity import CapacityReport
    from lifecycle.serving.board import Seat
    from lifecycle.serving.process import Manner
    from lifecycle.steps.capacity import Question


def serve(settings: Settings, port: int, workers: int | None = None) -> None:
    """Run the prediction service until it is told to stop.

    Args:
        settings: Where things are.
        port: 0 takes a free one.
        workers: How many processes answer; ``settings.serving_workers``, if None. One runs in this process.

    Raises:
        ConfigError: It would listen to other machines without API keys.
    """
    from lifecycle.core.wiping import is_wiping, wiping
    from lifecycle.serving.keys import KeyRing, require_keys

    require_keys(KeyRing(settings.key_file), settings.host)
    count = workers or settings.serving_workers
    wiped = wiping() if settings.wipes else {}
    if count == 1 and wiped and not is_wiping():
        # An allocator reads how it is to work when its process starts: start again, as this very process.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wiped)
    if count == 1:
        from lifecycle.serving.server import run_server

        run_server(_service(settings), settings.host, port, _manner(settings))
    else:
        from lifecycle.serving.workers import Workers

        command = (sys.executable, "-P", "-m", "lifecycle", "serve", "--place")
        with tempfile.TemporaryDirectory(prefix="counters-", dir=made(settings.state / "tmp")) as folder:
            shared = {
                "LIFECYCLE_COUNTERS": folder,
                # Each worker has its own processes of an estimator: together no more than there are cores.
                "LIFECYCLE_ESTIMATOR_WORKERS": str(settings.estimator_workers or max(1, cores() // count)),
            }
            environment = os.environ | environment_of(settings) | shared | wiped
            Workers(command, count, environment, _manner(settings)).run(settings.host, port)


def work(settings: Settings, place: str) -> None:
    """Be one worker of ``serve``.

    Args:
        settings: The parent's.
        place: A ``Place`` as JSON.
    """
    from lifecycle.serving.process import Place
    from lifecycle.serving.worker import run_worker

    run_worker(Place.from_json(place), lambda seat: _service(settings, seat), _manner(settings))


def _service(settings: Settings, seat: Seat | None = None) -> ASGIApp:
    """The prediction service of this process.

    Args:
        settings: Where things are.
        seat: Its place among several workers, which share their counters; None if it is the only one.
    """
    from lifecycle.serving.app import create_app
    from lifecycle.serving.keys import KeyRing

    return create_app(
        open_ledger(settings),
        open_store(settings),
        poll_seconds=settings.poll_seconds,
        keys=KeyRing(settings.key_file),
        origins=settings.origins,
        log=settings.log,
        segment_seconds=settings.log_segment_seconds,
        counters=settings.counters,
        mlflow=settings.mlflow_pages,
        load_engine=engine_loader(settings.project, settings.estimator_workers),
        seat=seat,
        state=settings.state,
        open_custody=custody_opener(settings),
    )


def _manner(settings: Settings) -> Manner:
    from lifecycle.serving.process import Manner

    return Manner(settings.tls_certificate, settings.tls_key, settings.drain_seconds)


def capacity(settings: Settings, question: Question, say: Callable[[str], None]) -> CapacityReport:
    """Measure what this machine, or a running service, can do for a system.

    Args:
        settings: Where things are.
        question: What is asked.
        say: Takes a line of progress.

    Raises:
        StateError: Nothing is live, or no such release is known.
    """
    from lifecycle.steps.capacity import find_capacity

    load_params(settings.project).system(question.system)
    estimator = estimator_command(settings.project)
    return find_capacity(question, settings, open_ledger(settings), open_store(settings), estimator, say)


def addresses(settings: Settings) -> dict[str, str]:
    """Where ``serving``, ``mlflow`` and ``prefect`` listen, as far as they are up."""
    from lifecycle.supervise.state import addresses as listening

    return listening(settings)
