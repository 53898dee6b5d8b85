"""A look at the aliases in MLflow's SQLite file, for flows that need nothing else of MLflow.

Importing MLflow and opening its stores would take half the time of an update that finds nothing new.
Nothing is ever decided by what is seen here: aliases that are not as they should be, and a file that has
another form, are left to MLflow itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from lifecycle.core.settings import Settings

_SQLITE = "sqlite:///"
_QUERY = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"


def aliases_seen(settings: Settings, name: str) -> Mapping[str, str] | None:
    """Alias -> version of a registered model.

    Args:
        settings: Where MLflow is.
        name: The registered model.

    Returns:
        None where only MLflow can say: it is behind a server or another database, or the file is not as
        expected.
    """
    path = Path(settings.tracking.removeprefix(_SQLITE))
    if not settings.tracking.startswith(_SQLITE) or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(_QUERY, (name,)).fetchall()
    except sqlite3.Error:
        return None
    seen = {str(alias): str(version) for alias, version in rows}
    return seen if len(seen) == len(rows) else None  # else models of one name, in several workspaces
