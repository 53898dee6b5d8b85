"""An application that calls the endpoint: a few connections, one record a request."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

CONNECTIONS = 4


@dataclass
class Answers:
    """What came back.

    Attributes:
        predictions: One per request, in order; None where it failed.
        names: The ids of these predictions.
        releases: Requests answered by each release.
        failures: Requests without a good answer.
    """

    predictions: list[float | None]
    names: list[str | None]
    releases: Counter[str] = field(default_factory=Counter)
    failures: int = 0


def ask_all(url: str, requests: Sequence[dict[str, Any]]) -> Answers:
    """Send every request, a few at a time, and collect the answers in order."""
    answers = Answers([None] * len(requests), [None] * len(requests))
    asyncio.run(_send(url, requests, answers, threading.Event()))
    return answers


class KeepAsking:
    """Requests that keep flowing in the background until the block ends."""

    def __init__(self, url: str, requests: Sequence[dict[str, Any]]) -> None:
        self.answers = Answers([None] * len(requests), [None] * len(requests))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url, requests), daemon=True)

    def _run(self, url: str, requests: Sequence[dict[str, Any]]) -> None:
        while not self._stop.is_set():
            asyncio.run(_send(url, requests, self.answers, self._stop, pause=0.02))

    def __enter__(self) -> Answers:
        self._thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


async def _send(
    url: str, requests: Sequence[dict[str, Any]], answers: Answers, stop: threading.Event, pause: float = 0
) -> None:
    queue = iter(enumerate(requests))
    async with httpx.AsyncClient(timeout=10) as client:

        async def worker() -> None:
            for position, request in queue:
                if stop.is_set():
                    return
                await _ask(client, url, request, position, answers)
                await asyncio.sleep(pause)

        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


async def _ask(
    client: httpx.AsyncClient, url: str, request: dict[str, Any], position: int, answers: Answers
) -> None:
    try:
        response = await client.post(url, json=request)
        body = response.raise_for_status().json()
    except httpx.HTTPError:
        answers.failures += 1
        return
    answers.predictions[position] = body["prediction"]
    answers.names[position] = body["prediction_id"]
    answers.releases[body["release"]] += 1
