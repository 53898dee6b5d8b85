"""What supervisord runs for each service: reads its command, then becomes it.

So no command, path or variable has to be quoted in supervisord's configuration, whatever it contains.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def launch(name: str) -> None:
    """Become the service of this name; counts the start in ``<state>/run/<name>.starts``."""
    run = Path(os.environ["LIFECYCLE_HOME"]) / "run"
    stack = json.loads((run / "services.json").read_text(encoding="utf-8"))
    service = next(it for it in stack["services"] if it["name"] == name)
    with (run / f"{name}.starts").open("a", encoding="utf-8") as record:
        record.write(f"{os.getpid()}\n")
    # A shell that starts `lifecycle up &` has it ignore Ctrl-C, and so would every server.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execvpe(service["command"][0], service["command"], os.environ | service["env"])


if __name__ == "__main__":
    launch(sys.argv[1])
