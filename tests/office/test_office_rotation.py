"""The regular rotation: where there are keys, they turn; where there are none, nothing is made."""

from __future__ import annotations

from flows import start


def test_a_system_without_people_has_nothing_to_rotate(clinic):
    assert start.rotate_keys("clinic").kek is None
    assert not (clinic.settings.state / "keys").exists()


def test_the_keys_of_a_system_turn(clinic):
    refs = clinic.admit(6)
    before = clinic.office.ring.every(refs)
    done = start.rotate_keys("clinic")
    assert (done.kek, done.subject_keys) == (2, 6)
    assert clinic.office.ring.every(refs) == before
    status = clinic.office.status()
    assert {key.kek_version for key in status.keys if key.state != "destroyed"} == {2}
