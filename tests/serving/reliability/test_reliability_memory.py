"""Memory stays where it is, however many requests were answered."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.serving.conftest import HOME
from tests.serving.reliability.flood import flood
from tests.serving.reliability.project import BODY, PREDICT, Project, Running, serving

WRONG = json.dumps({**HOME, "area": 1}).encode()
SEVERAL = json.dumps({"instances": [HOME] * 8}).encode()
COLUMNS = json.dumps({"columns": {name: [value] * 8 for name, value in HOME.items()}}).encode()
BODIES = [BODY] * 10 + [SEVERAL] * 3 + [COLUMNS] * 2 + [WRONG]
"""As many as are sent at once."""


def growth(service: Running, count: int) -> int:
    """Bytes that came to be resident between a tenth of so many requests and all of them."""
    tenth = count // 10
    answered = flood(service.address, PREDICT, BODIES, tenth)
    before = service.rss()
    answered += flood(service.address, PREDICT, BODIES, count - tenth)
    assert answered.keys() == {200, 422}
    assert answered[200] == answered[422] * 15
    return service.rss() - before


@pytest.mark.slow
def test_memory_is_steady_over_twenty_thousand_requests(tmp_path):
    with serving(Project(tmp_path)) as service:
        assert growth(service, 20_000) < 10e6


@pytest.mark.soak
def test_memory_is_steady_over_a_million_requests(tmp_path, report: Callable[[str], None]):
    with serving(Project(tmp_path)) as service:
        grown = growth(service, 1_000_000)
        report(f"1,000,000 requests: {service.rss() / 1e6:.1f} MB, {grown / 1e6:+.2f} MB since the 100,000th")
    assert grown < 5e6
