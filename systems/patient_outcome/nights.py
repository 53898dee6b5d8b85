"""The patients of some days as a batch: ``python -m systems.patient_outcome.nights FIRST LAST OUT.csv``.

What scoring asks for and nothing else: the visit, whom it is about, and the features; no name, no outcome.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from systems.patient_outcome import SYSTEM
from systems.patient_outcome.cohort import PATIENTS


def arrivals(first: date, last: date) -> Iterator[dict[str, str]]:
    """What is asked about each patient whose index date lies in these days, both included."""
    schema = SYSTEM.schema
    asked = ["visit_id", "patient_id", *(field.name for field in schema.features)]
    with gzip.open(PATIENTS, "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            if first <= date.fromisoformat(row["index_date"]) <= last:
                yield {name: row[name] for name in asked}


def write_night(first: date, last: date, out: Path) -> int:
    """Write the arrivals as CSV; how many there are."""
    rows = list(arrivals(first, last))
    with out.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0] if rows else [])
        table.writeheader()
        table.writerows(rows)
    return len(rows)


def main(first: str, last: str, out: str) -> None:
    """The first and the last day, as 2010-03-05, and the file to write."""
    count = write_night(date.fromisoformat(first), date.fromisoformat(last), Path(out))
    print(f"{count} patients")


if __name__ == "__main__":
    main(*sys.argv[1:])
