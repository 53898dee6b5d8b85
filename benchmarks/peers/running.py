"""A peer's server: started, seen to answer as the release does, and ended with all its processes."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.commands import ROOT, environment
from benchmarks.peers.environment import PeerError, last_words, python_of
from benchmarks.peers.registry import Peer, Record, encoded

READY_SECONDS = 120.0
TOLERANCE = 1e-3
"""Largest relative difference between a peer's answers and the release's."""


@contextmanager
def running(peer: Peer, release: Path, scratch: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of a peer that is up.

    Args:
        peer: Which.
        release: The release's folder.
        scratch: An empty folder for it.

    Raises:
        PeerError: It cannot be installed or does not come up.
    """
    python, port = python_of(peer), _free_port()
    scratch.mkdir(parents=True)
    extra = {"PEER_RELEASE": str(release), "PYTHONPATH": str(ROOT), "HOME": str(scratch)}
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    env = environment(None, {**extra, "PATH": path, **peer.environment})
    for name, content in peer.files(port).items():
        (scratch / name).write_text(json.dumps(content), encoding="utf-8")
    if peer.prepare:
        done = subprocess.run(
            peer.prepare(python, scratch), env=env, cwd=scratch, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PeerError(last_words(done.stderr))
    log = scratch / "server.log"
    with (
        log.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            peer.command(python, port, scratch), env=env, cwd=scratch, stdout=out, stderr=out
        ) as server,
    ):
        try:
            _wait(peer, port, server, log)
            yield port, psutil.Process(server.pid)
        finally:
            end(server.pid)


def end(pid: int) -> None:
    """Kill a process and all it started."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family[1:], timeout=10)


def agree(peer: Peer, port: int, records: Sequence[Record], expected: Mapping[str, float]) -> float:
    """The largest relative difference of a peer's answers from the release's.

    Args:
        peer: Which.
        port: Where it listens.
        records: What to ask.
        expected: Record id -> the release's own answer.

    Raises:
        PeerError: It refuses a record, or answers otherwise than the release.
    """
    worst = 0.0
    for record in records:
        status, body = ask(port, "POST", peer.path, encoded(peer, record))
        if status != 200:
            raise PeerError(f"it answers a record with {status}: {last_words(body.decode(errors='replace'))}")
        answer, right = float(peer.answer(json.loads(body))), expected[str(record["sale_id"])]
        worst = max(worst, abs(answer / right - 1))
    if worst > TOLERANCE:
        raise PeerError(f"its answers differ from the release's by up to {worst:.1e}")
    return worst


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _wait(peer: Peer, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    begun = time.perf_counter()
    while True:
        try:
            if ask(port, "GET", peer.up)[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if server.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
            raise PeerError(f"it does not come up: {last_words(log.read_text(encoding='utf-8'))}")
        time.sleep(0.1)


def _free_port() -> int:
    """A port that is free, and whose two neighbours are too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        try:
            for beside in (port + 1, port + 2):
                socket.create_server(("127.0.0.1", beside)).close()
        except OSError:
            continue
        return port
