"""Times a few functions of `lifecycle` in every process of a measured command, from outside.

Python loads a module of this name at its start if it finds one: this folder is put on ``PYTHONPATH`` of the
command, and the stages that DVC starts inherit that. So the measured code needs no hook, and the parts of a
run that are left out of a figure are taken from that very run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

TIMED = {
    "lifecycle.training.choice": ("to_onnx", "compare"),
    "lifecycle.training.fit": ("fit",),
    "lifecycle.serving.probe": ("ServerProbe.measure",),
    "lifecycle.data.ingest": ("ingest",),
    "lifecycle.data.dvc": ("Dvc.add", "Dvc.push"),
}
"""Module -> the functions that are timed, as the module calls them."""


class Stopwatch(MetaPathFinder):
    """Puts a clock around functions when their module is imported; each call adds a line to a log.

    Args:
        log: The file, as JSON lines: ``{"what": ..., "seconds": ...}``.
    """

    def __init__(self, log: str) -> None:
        self._log = log

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """The ordinary spec, with a loader that wraps what it loaded."""
        if fullname not in TIMED:
            return None
        sys.meta_path.remove(self)
        try:
            spec = find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_wrap(module: ModuleType) -> None:
                load(module)
                for name in TIMED[fullname]:
                    self._wrap(module, name)

            spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrap(self, module: ModuleType, name: str) -> None:
        holder: Any = module
        *owners, last = name.split(".")
        for owner in owners:
            holder = getattr(holder, owner)
        setattr(holder, last, self._timed(name, getattr(holder, last)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                line = json.dumps({"what": name, "seconds": time.perf_counter() - start})
                with open(self._log, "a", encoding="utf-8") as stream:  # noqa: PTH123 - pathlib is not loaded yet
                    stream.write(f"{line}\n")

        return timed


if "STOPWATCH_LOG" in os.environ:
    sys.meta_path.insert(0, Stopwatch(os.environ["STOPWATCH_LOG"]))
