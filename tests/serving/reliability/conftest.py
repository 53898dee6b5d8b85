"""What the stories of reliability share."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def report(request, capsys) -> Callable[[str], None]:
    """Tell people a figure of a soak while it runs."""

    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n    {line}", flush=True)

    return tell
