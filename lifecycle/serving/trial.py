"""A real serving process with one release, started to be measured and ended whatever happens."""

from __future__ import annotations

import json
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from lifecycle.core.errors import StageError, UnavailableError
from lifecycle.core.release import read_schema
from lifecycle.core.settings import Settings, quiet_environment
from lifecycle.core.values import Release
from lifecycle.core.wiping import wiping
from lifecycle.serving.client import Connection

TRIAL_CUSTODY = "lifecycle.records.custody:open_trial"
"""Seals the log of a trial under keys that nobody else holds; the serving room itself knows of no keys."""

READY_SECONDS = 60.0
"""Longest wait for a server to be ready."""


@dataclass(frozen=True)
class TrialServer:
    """A server that is ready.

    Attributes:
        pid: Of its process.
        address: Such as ``http://127.0.0.1:43210``.
        ready_s: From its start to the first 200 of ``/readyz``, seconds.
    """

    pid: int
    address: str
    ready_s: float


@contextmanager
def trial_server(settings: Settings, folder: Path, estimator: Sequence[str] = ()) -> Iterator[TrialServer]:
    """A server that is ready, ended whatever happens; it also ends by itself if this process dies.

    It logs its predictions as the release says, to a folder of its own that is removed at the end.

    Args:
        settings: Where things are; the server gets its environment from them.
        folder: The release's.
        estimator: The command that runs a scikit-learn estimator, for a release that needs one.

    Raises:
        UnavailableError: It does not get ready, or stops answering.
    """
    module = [sys.executable, "-P", "-m", "lifecycle.serving"]
    settings.state.mkdir(parents=True, exist_ok=True)
    command = [*module, "--release", str(folder), "--port", "0", "--until-eof"]
    command += ["--custody", TRIAL_CUSTODY]
    if estimator:
        command += ["--estimator", shlex.join(estimator)]
    start = time.perf_counter()
    with (
        TemporaryDirectory(prefix="trial-", dir=settings.state) as predictions,
        TemporaryFile() as log,
        subprocess.Popen(
            [*command, "--log", predictions],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=quiet_environment(settings) | (wiping() if read_schema(folder).is_sealed else {}),
        ) as process,
    ):
        try:
            address = _address(process, log, start)
            _wait_until_ready(address, start)
            yield TrialServer(process.pid, address, time.perf_counter() - start)
        except OSError as error:
            raise UnavailableError(
                f"the server to measure stopped answering: {type(error).__name__}", hint="measure again"
            ) from error
        finally:
            process.kill()


def local_folder(release: Release) -> Path:
    """The folder of a release on this machine.

    Raises:
        StageError: It is elsewhere.
    """
    parts = urlsplit(release.uri)
    folder = Path(unquote(parts.path))
    if parts.scheme not in ("", "file") or not folder.is_dir():
        raise StageError(
            f"release {release.digest[:12]} is not in a local folder", hint="fetch it before measuring it"
        )
    return folder


def _address(process: subprocess.Popen[bytes], log: IO[bytes], start: float) -> str:
    """What the server prints once it listens."""
    assert process.stdout is not None
    remaining = start + READY_SECONDS - time.perf_counter()
    heard, _, _ = select.select([process.stdout], [], [], remaining)
    line = process.stdout.readline() if heard else b""
    if not line:
        log.seek(0)
        last = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise UnavailableError(
            f"the server to measure did not start: {last[0]}", hint="run it by hand to see"
        )
    return str(json.loads(line)["address"])


def _wait_until_ready(address: str, start: float) -> None:
    with Connection(address) as connection:
        request = connection.prepare("GET", "/readyz")
        while True:
            status, body = connection.send(request)
            if status == 200:
                return
            if time.perf_counter() - start > READY_SECONDS or _failed(json.loads(body)):
                raise UnavailableError(
                    f"the server to measure did not get ready: {body.decode()}",
                    hint="the release does not load in a server",
                )
            time.sleep(0.01)


def _failed(readiness: dict[str, Any]) -> bool:
    """Whether the one release was tried and does not load."""
    return any((system["waiting"] or {}).get("attempts") for system in readiness["systems"].values())
