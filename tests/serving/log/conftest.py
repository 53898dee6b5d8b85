"""Logs that are closed at the end of a test, and a reader of all that stands in one."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lifecycle.serving.log.entries import Entry, OutcomeEntry, PredictionEntry
from lifecycle.serving.log.recovery import closed_segments
from lifecycle.serving.log.segment import read_segment
from lifecycle.serving.log.terms import Limits
from lifecycle.serving.log.writer import PREDICTIONS, PredictionLog

RELEASE = "a" * 64
SCHEMA = b'{"fields": []}'


def prediction(number: int, inputs: bytes = b"{}") -> bytes:
    """The payload of one prediction, told apart by its id."""
    entry = PredictionEntry(
        str(number), number, RELEASE, "7", "champion", 90, "", "", "record", inputs, bytes(8)
    )
    return msgspec.msgpack.encode(entry)


def outcome(record: str, value: float = 1.0) -> bytes:
    return msgspec.msgpack.encode(OutcomeEntry(None, record, value, 0, 0))


def segments(root: Path, kind: str = PREDICTIONS) -> list[Path]:
    return closed_segments(root / "homes" / kind)


def entries(root: Path, kind: str = PREDICTIONS) -> list[Entry]:
    """All that stands in the closed segments of a log; each must be whole."""
    found: list[Entry] = []
    for path in segments(root, kind):
        reader = read_segment(path)
        found += reader
        assert (reader.torn, reader.damage) == (0, [])
    return found


def ids(root: Path) -> list[str]:
    return [entry.id for entry in entries(root) if isinstance(entry, PredictionEntry)]


@pytest.fixture
def open_log(tmp_path) -> Iterator[Callable[..., PredictionLog]]:
    """Makes logs below ``tmp_path``, or another folder."""
    logs: list[PredictionLog] = []

    def make(root: Path = tmp_path, **options: Any) -> PredictionLog:
        options.setdefault("limits", Limits(quick_sync_seconds=0))  # syncs in the thread
        logs.append(PredictionLog(root, **options))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode and not os.environ.get("CI"):
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Limits the size of the files this process writes, until the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
