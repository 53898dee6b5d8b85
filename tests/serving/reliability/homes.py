"""A system whose homes have owners: its records are sealed."""

from __future__ import annotations

from typing import Annotated, Any

from lifecycle.core.roles import Sensitive, SubjectId
from lifecycle.core.system import System
from tests.serving.conftest import Home


class OwnedHome(Home):
    """A home and whose it is."""

    owner: Annotated[str, SubjectId(), Sensitive("identifiers")]


def _no_model(_seed: int) -> Any:
    raise NotImplementedError


SYSTEM = System(
    name="homes",
    record=OwnedHome,
    task="regression",
    build_model=_no_model,
    metrics=("mae",),
    primary="mae",
)
