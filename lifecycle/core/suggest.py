"""Near matches for a name that was not found."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or nothing.

    Example:
        >>> nearest("median_apd", ["median_ape", "mae"])
        "; did you mean 'median_ape'?"
    """
    matches = get_close_matches(name, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
