"""One snapshot of house sales from a file, in a process of its own: ``python snapshot.py FILE``.

The project is the one of ``LIFECYCLE_PROJECT``; prints how many rows were kept, as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from lifecycle.core.params import SourceParams, SplitParams, SystemParams
from lifecycle.core.settings import Settings
from lifecycle.data.workspace import GitDvcWorkspace
from systems.house_prices import SYSTEM

AS_OF = datetime(2030, 1, 1, tzinfo=UTC)


def main() -> None:
    """Make the snapshot."""
    source = Path(sys.argv[1])
    params = SystemParams(
        entry="systems.house_prices:SYSTEM",
        code="systems/house_prices",
        sources=(
            SourceParams(
                origin="user",
                kind="csv" if source.suffix == ".csv" else "parquet",
                path=str(source),
            ),
        ),
        split=SplitParams(validation_days=60, test_days=150),
    )
    workspace = GitDvcWorkspace(Settings(), SYSTEM.name)
    with workspace.locked():
        snapshot = workspace.snapshot(SYSTEM, params, AS_OF)
    print(json.dumps({"kept": snapshot.counts.kept}))


if __name__ == "__main__":
    main()
