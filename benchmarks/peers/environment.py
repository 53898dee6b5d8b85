"""A virtual environment per peer, made on demand with the pins in its ``requirements.txt``."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.commands import ROOT
from benchmarks.peers.registry import PEERS, Peer

HOME = Path(os.environ.get("LIFECYCLE_BENCH", ROOT / ".lifecycle" / "bench"))
"""Where the environments lie, some 2 GB in all; ``LIFECYCLE_BENCH`` moves them."""


class PeerError(Exception):
    """A peer cannot be installed, started or asked here; the message is its own last words."""


def python_of(peer: Peer) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there or has other pins.

    Raises:
        PeerError: Something cannot be installed.
    """
    folder, pins = HOME / peer.name, PEERS / peer.name / "requirements.txt"
    python, mark = folder / "bin" / "python", folder / ".pins"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if not (mark.is_file() and mark.read_text(encoding="utf-8") == wanted):
        HOME.mkdir(parents=True, exist_ok=True)
        uv = str(Path(sys.executable).with_name("uv"))
        _run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), "--requirements", str(pins)])
        mark.write_text(wanted, encoding="utf-8")
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(last_words(done.stderr))


def last_words(text: str) -> str:
    """The end of what a program said, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-400:] or "it said nothing"
