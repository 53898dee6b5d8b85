"""What was freed goes back to the system."""

from __future__ import annotations

import ctypes
import threading

import psutil
import pytest

from lifecycle.serving import memory
from lifecycle.serving.engine import load_engine
from lifecycle.serving.live import LiveReleases
from tests.serving.conftest import eventually, promote

PIECE, PIECES = 10_000, 5_000


def resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_memory_that_was_freed_leaves_the_process():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    pieces = [ctypes.c_void_p(libc.malloc(PIECE)) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    last = pieces.pop()  # as long as the last piece is held, the C library keeps all before it
    for piece in pieces:
        libc.free(piece)
    held = resident()

    memory.give_back()

    assert resident() < held - PIECE * PIECES / 2
    libc.free(last)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    memory.give_back()


def test_memory_is_given_back_after_a_load_and_after_the_old_release_was_let_go(
    ledger, store, releases, monkeypatch
):
    # What tests before this one still load would be counted here.
    eventually(lambda: not any(it.name.startswith("load-") for it in threading.enumerate()))
    told: list[bool] = []
    live = LiveReleases(ledger, store, load_engine, poll_seconds=0.0)
    monkeypatch.setattr(memory, "give_back", lambda: told.append(live.current("homes") is not None))
    promote(ledger, releases.write())
    eventually(lambda: live.poll() or told[1:])
    live.poll()
    assert told == [False, True], "before it answers, and once after the switch"
