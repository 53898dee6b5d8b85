"""Projects whose servers are gone when the test is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lifecycle.core.settings import Settings
from lifecycle.supervise.down import down
from lifecycle.supervise.processes import marked
from lifecycle.supervise.state import run_folder


@pytest.fixture
def settings(tmp_path) -> Iterator[Settings]:
    """A project; whatever a test leaves running in it fails the test, after it was ended."""
    project = Settings(project=tmp_path)
    yield project
    down(project)
    assert marked(project.state) == []
    assert not run_folder(project).exists()


@pytest.fixture
def said() -> list[str]:
    """Collects progress: pass its ``append`` as ``echo``."""
    return []
