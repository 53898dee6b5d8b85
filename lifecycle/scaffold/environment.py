"""The environment, written down."""

from __future__ import annotations

import re
from importlib.metadata import distributions


def pinned_environment() -> str:
    """Every installed distribution as ``name==version``, sorted; no address and no path.

    Example:
        >>> "pydantic==" in pinned_environment()
        True
    """
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed distribution has none
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))
