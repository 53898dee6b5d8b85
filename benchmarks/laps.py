"""What the stopwatch wrote."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from benchmarks.commands import ROOT

_FOLDER = ROOT / "benchmarks" / "stopwatch"


class Laps:
    """Seconds of the functions that the stopwatch times, in one measured command.

    Args:
        log: The file that the command's processes write to; what an earlier command wrote is dropped.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        log.unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the command needs in its environment."""
        return {"PYTHONPATH": str(_FOLDER), "STOPWATCH_LOG": str(self._log)}

    @property
    def seconds(self) -> defaultdict[str, float]:
        """Function, as ``Dvc.add`` -> seconds of all its calls; 0 for one that was not called."""
        total: defaultdict[str, float] = defaultdict(float)
        if self._log.is_file():
            for line in self._log.read_text(encoding="utf-8").splitlines():
                lap = json.loads(line)
                total[lap["what"]] += lap["seconds"]
        return total
