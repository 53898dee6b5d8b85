"""Serve one release folder, without a ledger: ``python -m lifecycle.serving --release FOLDER``.

For measuring a candidate. What is live is served by ``lifecycle serve``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

from lifecycle.core.clock import SystemClock
from lifecycle.core.errors import LifecycleError
from lifecycle.core.settings import Settings
from lifecycle.serving.app import create_app
from lifecycle.serving.engine import load_engine
from lifecycle.serving.folder import ReleaseFolder
from lifecycle.serving.server import run_server


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m lifecycle.serving", description=__doc__)
    parser.add_argument("--release", type=Path, required=True, help="the release's folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--until-eof", action="store_true", help="end when stdin ends, as when the parent dies"
    )
    parser.add_argument("--estimator", default="", help="the command that runs a scikit-learn estimator")
    parser.add_argument(
        "--custody", default="", help="`module:function` that opens the custody of sealed records"
    )
    parser.add_argument("--log", type=Path, help="folder of the prediction log; nothing is logged without it")
    options = parser.parse_args()
    if options.until_eof:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        folder = ReleaseFolder(options.release, SystemClock().now())
        estimator, workers = shlex.split(options.estimator), Settings().estimator_workers
        app = create_app(
            folder,
            folder,
            poll_seconds=60.0,
            log=options.log,
            load_engine=partial(load_engine, estimator=estimator, workers=workers),
            open_custody=resolve_name(options.custody) if options.custody else None,
        )
        run_server(app, options.host, options.port)
    except LifecycleError as error:
        print(error.message, file=sys.stderr)
        sys.exit(error.exit_code)


def _end_with_stdin() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would break an exit meanwhile
        pass
    os._exit(0)  # nobody is left to answer


if __name__ == "__main__":
    main()
