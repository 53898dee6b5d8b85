"""Two flows and a server on one key table at once, each a process of its own: nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.core.settings import Settings
from lifecycle.wiring import open_office
from tests.office.conftest import REPOSITORY, Clinic, identifier

PEOPLE, ERASED, ROUNDS = 30, 4, 3

ERASES = """
from flows import start
for ref in {refs}:
    start.erase_subject("clinic", ref)
"""
ROTATES = """
from flows import start
for _ in range({rounds}):
    assert start.rotate_keys("clinic").kek is not None
"""
SERVES = """
import json, time
from pathlib import Path
from lifecycle.core.errors import LifecycleError
from tests.office.conftest import Clinic, identifier
clinic = Clinic(Path("{root}"), policy=False)
vault, over = clinic.vault, Path("{root}/over")
folder = Path("{root}/served")
rounds = refused = 0
while not (over.exists() and rounds >= 3):
    rounds += 1
    try:
        # Some are erased already, some are erased between this line and the next.
        there = [ref for ref in vault.admit([identifier(n) for n in range({people})]) if ref is not None]
        there += vault.admit([f"newcomer {{rounds}}"])
        clinic.seal(folder / f"{{rounds:03}}.parquet", there)
        vault.close(folder)
        opened = list(vault.open(sorted(folder.glob("*.parquet")), ["age"], "care"))
        assert all(it.table.num_rows + it.dropped >= {people} - {erased} for it in opened)
    except LifecycleError as error:
        assert type(error).__name__ in ("ErasedError",), repr(error)
        refused += 1
print(json.dumps([rounds, refused]))
"""


def begun(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_erasing_rotating_and_serving_go_on_together(request, database, monkeypatch):
    if database == "postgresql":
        monkeypatch.setenv("LIFECYCLE_KEYS_URL", request.getfixturevalue("postgres_url"))
    clinic: Clinic = request.getfixturevalue("clinic")
    clinic.allow(["erase", "rotate"], care=["clinical"])
    refs = clinic.admit(PEOPLE)
    keys = clinic.office.ring.every(refs)
    clinic.office.table.close()

    server = begun(SERVES.format(root=clinic.root, people=PEOPLE, erased=ERASED))
    flows = [
        begun(ERASES.format(refs=[ref.hex() for ref in refs[:ERASED]])),
        begun(ROTATES.format(rounds=ROUNDS)),
    ]
    said = [process.communicate(timeout=120) for process in flows]
    (clinic.root / "over").touch()
    served, complaint = server.communicate(timeout=120)

    assert [process.returncode for process in flows] == [0, 0], said
    assert server.returncode == 0, complaint
    rounds, refused = json.loads(served)
    assert rounds > refused, "it went on serving"
    office = open_office(Settings(project=clinic.root))
    assert office.ring.every(refs) == [None] * ERASED + keys[ERASED:]
    people = office.people("clinic")
    assert people.find([identifier(n) for n in range(PEOPLE)]) == [None] * ERASED + refs[ERASED:]
    newcomers = [ref for ref in people.find([f"newcomer {n + 1}" for n in range(rounds)]) if ref]
    assert len(newcomers) >= rounds - refused
    status = office.status()
    assert status.subjects == PEOPLE - ERASED + len(newcomers)
    assert status.tombstones == {"scrubbed": ERASED}
    assert office.without_receipt() == []
    alive = [key for key in status.keys if key.state != "destroyed"]
    assert {key.purpose for key in alive if key.state == "active"} == {
        "subjects/clinic",
        "index/clinic.number",
    }
    assert sum(key.subject_keys for key in alive) == status.subjects, "no key names one that was destroyed"
    parts = sorted(Path(clinic.root, "served").glob("*.parquet"))
    opened = list(clinic.vault.open(parts, ["age"], "care"))
    assert len(opened) == rounds - refused
    found = office.trail.verify()
    assert found.entries >= ERASED + ROUNDS + rounds - refused
