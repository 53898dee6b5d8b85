"""One worker of a service of several: it listens where its parent says, and ends when its parent does."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lifecycle.serving.board import Board, Seat
from lifecycle.serving.process import ACCEPTING, GRACE_SECONDS, RETIRE, Manner, Place, log_to_stderr
from lifecycle.serving.server import Ending, Server

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)


def run_worker(place: Place, make_app: Callable[[Seat], ASGIApp], manner: Manner) -> None:
    """Answer until the parent, or a signal, says to end, or the parent is gone.

    Args:
        place: What the parent gave.
        make_app: Makes the application of this seat.
        manner: How it listens and ends.
    """
    log_to_stderr()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent's affair
    for descriptor in (place.listener, place.board, place.control):
        os.set_inheritable(descriptor, False)
    seat = Board(place.board).seat(place.seat)
    listener = socket.socket(fileno=place.listener)
    control = socket.socket(fileno=place.control)
    with listener, control:
        server = Server(
            make_app(seat),
            listener,
            manner,
            started=lambda: control.sendall(ACCEPTING),
            beat=seat.beat,
        )
        threading.Thread(target=_follow, args=(control, server), name="parent", daemon=True).start()
        server.answer()


def _follow(parent: socket.socket, server: Server) -> None:
    """Do as the parent says; end when it is gone, even if the event loop hangs."""
    try:
        while order := parent.recv(1):
            if order == RETIRE:
                server.end(Ending.RETIRE)
    except OSError:
        pass
    logger.warning("the parent process is gone: this worker ends")
    server.end(Ending.ORPHANED)
    time.sleep(GRACE_SECONDS + 2)
    os._exit(1)
