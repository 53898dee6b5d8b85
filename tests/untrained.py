"""Systems whose models come ready made, or are never asked: nothing trains them."""

from __future__ import annotations

from typing import Any

from lifecycle.core.record import Record
from lifecycle.core.system import System


def untrained(name: str, record: type[Record]) -> System:
    """A regression system; an attempt to train it fails the test."""
    return System(
        name=name,
        record=record,
        task="regression",
        build_model=_refuse,
        metrics=("mae",),
        primary="mae",
    )


def _refuse(_seed: int) -> Any:
    raise AssertionError("a system that nothing trains was trained")
