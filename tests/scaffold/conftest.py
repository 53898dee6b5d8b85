"""One project for all tests that only look at it."""

from __future__ import annotations

import pytest

from lifecycle.scaffold.project import init


@pytest.fixture(scope="session")
def said() -> list[str]:
    return []


@pytest.fixture(scope="session")
def project(tmp_path_factory, said):
    return init(tmp_path_factory.mktemp("scaffold") / "parcels", "parcel-times", echo=said.append)
