"""What every registry does: the simulator and real MLflow tell one story."""

from __future__ import annotations

import pytest

from lifecycle.core.errors import StateError
from tests.registry.conftest import SYSTEM, renewed


def register(registry, candidate):
    return registry.register(candidate.run, candidate.release, candidate.evaluation)


def test_a_candidate_becomes_the_first_version(any_registry, candidate):
    version = register(any_registry, candidate)

    assert (version.name, version.version) == (SYSTEM, "1")
    assert version.release.digest == candidate.release.digest
    assert version.run


def test_the_same_release_is_registered_once_however_often_it_is_judged(any_registry, candidate):
    first = register(any_registry, candidate)

    assert register(any_registry, candidate) == first
    assert register(any_registry, renewed(candidate, metrics={"mae": 99.0})) == first


def test_another_release_is_another_version_and_both_can_be_found_again(any_registry, make_candidate):
    first, second = make_candidate(500), make_candidate(600)
    versions = [register(any_registry, it) for it in (first, second)]

    assert [it.version for it in versions] == ["1", "2"]
    assert register(any_registry, first) == versions[0]


def test_aliases_follow_the_ledger_and_those_that_were_wrong_are_named(any_registry, make_candidate):
    for bias in (500, 600):
        register(any_registry, make_candidate(bias))

    assert any_registry.mirror(SYSTEM, "1", None) == ("champion",)
    assert any_registry.mirror(SYSTEM, "2", "1") == ("champion", "previous")
    assert any_registry.mirror(SYSTEM, "2", "1") == ()
    assert any_registry.mirror(SYSTEM, "1", None) == ("champion", "previous")


def test_a_name_that_is_not_registered_has_nothing_to_mirror(any_registry):
    assert any_registry.mirror("card-fraud", None, None) == ()


def test_an_alias_cannot_follow_to_a_version_that_is_not_there(any_registry, candidate):
    register(any_registry, candidate)

    with pytest.raises(StateError):
        any_registry.mirror(SYSTEM, "7", None)
