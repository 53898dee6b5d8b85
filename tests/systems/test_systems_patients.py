"""The patients: what is known of each on the index date, and nobody who could be recognised."""

from __future__ import annotations

import gzip
import io
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from lifecycle.core.card import card_sections
from lifecycle.core.params import load_params
from systems.patient_outcome import SYSTEM
from systems.patient_outcome.cohort import HORIZON, PATIENTS, build, index_dates, last_known, outcome
from systems.patient_outcome.nights import write_night

PARAMS = load_params(Path(__file__).parents[2]).system(SYSTEM.name)


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(gzip.decompress(PATIENTS.read_bytes())))


def results(*rows: tuple[int, int, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "days", "test", "value"])


def test_a_result_counts_from_the_day_it_was_taken_and_the_last_one_wins():
    found = last_known(results((1, -90, "hdl", 40), (1, -7, "hdl", 50), (1, 1, "hdl", 99)), "hdl")
    assert found.loc[1].to_dict() == {"hdl": 50, "hdl_days": 7}


def test_a_result_of_the_index_date_itself_is_known():
    assert last_known(results((1, 0, "hdl", 40)), "hdl").hdl_days[1] == 0


def test_what_no_living_person_has_is_passed_over_for_the_value_before():
    found = last_known(results((1, -90, "sbp", 120), (1, -7, "sbp", 13_682)), "sbp")
    assert found.loc[1].to_dict() == {"sbp": 120, "sbp_days": 90}


def test_two_results_of_one_day_are_averaged_whatever_their_order():
    rows = [(1, -7, "hdl", 40), (1, -7, "hdl", 50)]
    one, other = (last_known(results(*order), "hdl") for order in (rows, rows[::-1]))
    assert one.hdl[1] == other.hdl[1] == 45


def test_only_who_died_in_time_or_was_seen_after_it_has_an_outcome():
    seen = [(HORIZON - 1, 1), (HORIZON, 1), (HORIZON, 0), (HORIZON - 1, 0)]
    found = outcome(pd.DataFrame(seen, columns=["futime", "status"]))
    assert found.astype(object).where(found.notna(), None).tolist() == [1, 0, 0, None]
    assert timedelta(days=HORIZON) == SYSTEM.schema.label.delay


def test_what_was_diagnosed_later_is_not_known():
    people = pd.DataFrame(
        {"id": [1, 2], "age": [50, 60], "male": [1, 0], "futime": [2000, 2000], "status": [0, 0]}
        | {name: [1.0, 1.0] for name in ("weight", "height", "bmi")}
    )
    events = pd.DataFrame({"id": [1, 1, 2], "days": [-5, 5, 0], "event": ["MI", "stroke", "stroke"]})
    tests = results(*[(1, -1, name, 1.0) for name in ("hdl", "fib4", "smoke")], (1, -1, "sbp", 120))
    table = build(people, tests, events)
    assert table.ischemic_heart_disease.tolist() == [1, 0]
    assert table.stroke.tolist() == [0, 1]
    assert list(table.columns) == [field.name for field in SYSTEM.schema.fields]


def test_patients_come_in_the_order_of_their_ids(patients):
    assert patients.patient_id.is_unique
    assert patients.index_date.is_monotonic_increasing
    dates = index_dates(len(patients), Random(1))
    assert dates == sorted(dates)
    assert (dates[0].year, dates[-1].year) == (1985, 2011)


def test_new_patients_come_over_two_years_of_nights(patients):
    days = patients.index_date[patients.index_date >= "2010-01-01"].value_counts()
    assert days.sum() == 3749
    assert 4 < days.mean() < 8
    assert days.index.max() <= str(date(2011, 12, 31))


def test_nobody_could_be_meant_by_the_identifiers(patients):
    assert patients.name.str.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+-\d{5}").all()
    assert patients.phone.str.fullmatch(r"\+1-\d{3}-555-01\d\d").all()
    assert patients.medical_record_number.str.startswith("TEST-").all()
    assert patients.note.str.startswith("Synthetic note").all()
    born = pd.to_datetime(patients.birth_date)
    age = (pd.to_datetime(patients.index_date) - born).dt.days / 365.25
    assert (age - patients.age).between(0, 1.01).all()


def test_every_field_about_a_person_is_in_a_group_and_the_model_sees_no_identifier():
    schema = SYSTEM.schema
    groups = schema.access_groups
    assert schema.is_sealed
    assert {groups[field.name] for field in schema.features} == {"clinical"}
    told = {name for name, group in groups.items() if group == "identifiers"}
    assert told == {"patient_id", "name", "birth_date", "address", "phone", "medical_record_number"}
    assert groups["note"] == "free text"


def test_the_windows_leave_room_for_an_outcome_of_five_years():
    assert PARAMS.split.validation_days > SYSTEM.schema.label.delay.days
    assert PARAMS.requirements.privacy == "health"
    assert (PARAMS.requirements.records_per_hour, PARAMS.requirements.cores) == (1_000_000, 2)


def test_a_night_asks_about_the_patients_of_its_day_and_names_nobody(tmp_path, patients):
    day = date(2010, 3, 5)
    count = write_night(day, day, tmp_path / "night.csv")
    night = pd.read_csv(tmp_path / "night.csv")
    today = patients[patients.index_date == str(day)]
    assert night.visit_id.tolist() == today.visit_id.tolist()
    assert count == len(today) > 0
    assert set(night.columns) == {"visit_id", "patient_id", *(f.name for f in SYSTEM.schema.features)}


def test_the_card_names_every_identifier_and_rule_and_fits_where_reviewers_read():
    told = dict(card_sections(SYSTEM.card, PARAMS, sealed=True))
    groups = SYSTEM.schema.access_groups
    identifying = {name for name, group in groups.items() if group == "identifiers"}
    assert identifying | {"visit_id", "index_date", "age"} == set(SYSTEM.card.identifiers)
    for rule in ("45 CFR 164.514", "Art. 6, 9", "Art. 17", "Art. 22", "Art. 32"):
        assert any(rule in text for text in told["Regulation"])
    assert "within 0.02 of the threshold 0.2" in told["Abstains"][0]
    assert "fewer than 11" in told["Small cells"][0]
    assert sum(len(text) for texts in told.values() for text in texts) < 3000
