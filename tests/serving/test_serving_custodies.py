"""What a service knows of people is kept true, and what cannot be read is told once."""

from __future__ import annotations

import logging

import pytest

from lifecycle.core.errors import UnavailableError
from lifecycle.records.custody import TrialCustody
from lifecycle.serving.custodies import Custodies
from tests.serving.conftest import HOMES, OWNED


class Faulty(TrialCustody):
    """The custody of a system whose key table may not answer."""

    answers = True

    def refresh(self) -> None:
        """Say whether it does."""
        if not self.answers:
            raise UnavailableError("the key table does not answer")


@pytest.fixture
def held():
    """The custodies of two systems, and what holds them."""
    opened: dict[str, Faulty] = {}
    custodies = Custodies(lambda system, _: opened.setdefault(system, Faulty()))
    for system in ("down", "up"):
        assert custodies.of(system, OWNED) is opened[system]
    return custodies, opened


def told(caplog) -> int:
    return sum("who withdrew cannot be read" in record.message for record in caplog.records)


def test_a_fault_that_lasts_is_told_once_though_other_systems_fare_well(held, caplog):
    custodies, opened = held
    opened["down"].answers = False
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            custodies.refresh()
        assert told(caplog) == 1
        opened["down"].answers = True
        custodies.refresh()
        opened["down"].answers = False
        custodies.refresh()
        assert told(caplog) == 2, "it had recovered in between"


def test_records_about_nobody_need_no_custody():
    assert Custodies(None).of("homes", HOMES) is None
