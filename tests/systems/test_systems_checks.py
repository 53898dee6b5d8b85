"""Every reference system passes the checks that a user's own system must pass; a wrong one is told why."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Annotated

import pytest
from sklearn.linear_model import SGDRegressor
from sklearn.pipeline import make_pipeline

from lifecycle.checks import CheckFailedError, check_system
from lifecycle.core.params import load_params
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId, Sensitive
from lifecycle.core.system import System, load_system

REPOSITORY = Path(__file__).parents[2]
PARAMS = load_params(REPOSITORY)


@pytest.mark.parametrize("name", PARAMS.systems)
def test_a_reference_system_keeps_what_the_loop_relies_on(name):
    check_system(load_system(PARAMS.system(name).entry, REPOSITORY))


class Reading(Record):
    """A meter's reading."""

    key: Annotated[str, RecordId()]
    on: Annotated[date, EventTime()]
    size: Annotated[float, Feature()]
    use: Annotated[float, Label()]


METER = System(
    name="meter",
    record=Reading,
    task="regression",
    build_model=lambda seed: make_pipeline(SGDRegressor(random_state=seed)),
    metrics=("mae",),
    primary="mae",
)


def test_a_model_that_ignores_its_seed_is_told_to_pass_it_on():
    seeds = count()
    forgetful = replace(
        METER, build_model=lambda _seed: make_pipeline(SGDRegressor(random_state=next(seeds)))
    )
    with pytest.raises(CheckFailedError, match="pass the seed on as random_state"):
        check_system(forgetful)


def test_a_sensitive_field_needs_somebody_it_is_about():
    class Patient(Reading):
        name: Annotated[str, Feature(), Sensitive(group="identifiers")]

    with pytest.raises(CheckFailedError, match="needs a SubjectId"):
        check_system(replace(METER, record=Patient))
