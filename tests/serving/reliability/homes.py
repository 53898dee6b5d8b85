"""A system whose homes have owners: its records are sealed."""

from __future__ import annotations

from typing import Annotated

from lifecycle.core.roles import Sensitive, SubjectId
from tests.serving.conftest import Home
from tests.untrained import untrained


class OwnedHome(Home):
    """A home and whose it is."""

    owner: Annotated[str, SubjectId(), Sensitive("identifiers")]


SYSTEM = untrained("homes", OwnedHome)
