"""Telling the servers of this machine that something was switched, so that they look at once.

Each server binds one Unix datagram socket in a folder; whoever has switched sends an empty datagram to each.
A notice says nothing but "look": the ledger alone says what is live. One that is lost costs a server its
polling interval.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

LONGEST_SOCKET = 100
"""Bytes of a socket's path; the kernel takes 108, macOS 104."""

_NAME_LENGTH = 32
logger = logging.getLogger(__name__)


def notice_folder(state: Path) -> Path:
    """Where the servers of a project listen for notices.

    Args:
        state: The project's state folder. Where its path is too long for a socket, a folder of this user's
            in the temporary one stands for it.

    Example:
        >>> notice_folder(Path("/srv/shop/.lifecycle")).as_posix()
        '/srv/shop/.lifecycle/notices'
        >>> len(str(notice_folder(Path("/srv/" + "shop" * 30)))) < LONGEST_SOCKET
        True
    """
    usual = state / "notices"
    if len(os.fsencode(usual)) + 1 + _NAME_LENGTH <= LONGEST_SOCKET:
        return usual
    digest = hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"lifecycle-{os.getuid()}-{digest}"


def announce(state: Path) -> None:
    """Have every server of a project look at the ledger now.

    Never fails and never waits: a switch that was recorded stands, whoever hears of it. What servers that
    were killed have left behind is removed.

    Args:
        state: The project's state folder.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for path in notice_folder(state).iterdir():
            try:
                sender.sendto(b"", str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
            except OSError:
                continue  # full: it has been told already; or another user's: it polls


class Notices:
    """Listens for notices in a thread; a context.

    Args:
        state: The project's state folder.
        heard: Called for each notice, in the thread.
    """

    def __init__(self, state: Path, heard: Callable[[], None]) -> None:
        self._state = state
        self._path = notice_folder(state) / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._heard = heard
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        try:
            try:
                self._bind()
            except FileNotFoundError:  # the last of the others took the folder away with it
                self._bind()
        except OSError as error:
            logger.warning("switches are seen by polling only: %s: %s", self._path.parent, error)
        else:
            self._thread = threading.Thread(target=self._listen, name="notices", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._ended.set()
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
            self._thread.join()
            self._path.unlink(missing_ok=True)
            if self._path.parent.parent != self._state:
                with contextlib.suppress(OSError):  # others listen there
                    self._path.parent.rmdir()
        self._socket.close()

    def _bind(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.bind(str(self._path))

    def _listen(self) -> None:
        while not self._ended.is_set():
            self._socket.recv(1)
            if not self._ended.is_set():
                self._heard()
