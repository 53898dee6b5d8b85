"""One key table and three real processes at once: a service that logs, an erasure, keys that turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from lifecycle.core.settings import Settings
from lifecycle.records import manifest
from lifecycle.records.signing import Ed25519Signer
from lifecycle.records.vault import SystemVault
from lifecycle.steps.compact import compact
from lifecycle.steps.erase import read_receipt, receipt_file
from lifecycle.wiring import open_office
from lifecycle.wiring.adapters import open_log
from tests.serving.conftest import HOME, promote
from tests.serving.reliability.homes import SYSTEM
from tests.serving.reliability.project import PREDICT, Project, ask, serving

REPOSITORY = Path(__file__).parents[3]
PEOPLE = 6
ERASE = """
import sys
from flows import order
from flows.start import directly
print("begins", flush=True)
order.erase_subject(directly, "homes", sys.argv[1], lambda system, name: None)
"""
ROTATE = """
import select, sys
from flows import order
from flows.start import directly
print("begins", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    print(order.rotate_keys(directly, "homes").kek, flush=True)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def keys(request, tmp_path, monkeypatch) -> str:
    """The address of a key table, in the environment."""
    url = f"sqlite:///{tmp_path / 'keys' / 'keys.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("LIFECYCLE_KEYS_URL", url)
    return url


@pytest.fixture
def project(keys, tmp_path, monkeypatch) -> Project:
    monkeypatch.setenv("LIFECYCLE_ACTOR", "officer")
    declared = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["systems"]["house-prices"]
    declared |= {"entry": "tests.serving.reliability.homes:SYSTEM"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"systems": {"homes": declared}}))
    (tmp_path / "access.yaml").write_text(
        "format: 1\nactors:\n  officer:\n    ingest: [identifiers, clinical]\n"
        "administration:\n  officer: [erase, rotate, register]\n"
    )
    made = Project(tmp_path)
    promote(made.ledger, made.releases.write(schema=SYSTEM.schema))
    return made


@contextmanager
def started(project: Project, code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A real process; nothing of it is left afterwards."""
    with (
        (project.settings.project / "office.log").open("a") as log,
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def home(person: int, number: int) -> bytes:
    return json.dumps(HOME | {"home_id": f"{person}-{number}", "owner": f"owner {person}"}).encode()


def test_an_erasure_and_a_rotation_beside_a_service_lose_nobody_elses_prediction(project, keys):
    settings = Settings()
    assert settings.key_table == keys
    office = open_office(settings)
    refs = office.people("homes").register([f"owner {person}" for person in range(PEOPLE)])
    before = office.ring.every(refs)
    answered: list[str] = []
    refused = Counter[int]()
    with serving(project, environment={"LIFECYCLE_KEYS_URL": keys}) as service:
        connection = service.connect()

        def everybody(number: int) -> None:
            for person in range(PEOPLE):
                status, _ = ask(connection, "POST", PREDICT, home(person, number))
                assert status == 200 or (person == 0 and status == 403), status
                if status == 200:
                    answered.append(f"{person}-{number}")
                else:
                    refused[person] += 1

        everybody(0)
        with started(project, ROTATE) as rotating, started(project, ERASE, refs[0].hex()) as erasing:
            assert rotating.stdout.readline() == erasing.stdout.readline() == "begins\n"
            number = 0
            while erasing.poll() is None:
                number += 1
                everybody(number)
                time.sleep(0.03)  # the others need the processor, too
            out, _ = rotating.communicate("x", timeout=60)
        everybody(number + 1)
        connection.close()
    said = (project.settings.project / "office.log").read_text()
    assert (erasing.returncode, rotating.returncode) == (0, 0), said
    assert "Traceback" not in project.stderr + said

    signer = Ed25519Signer(settings.keys, purpose=manifest.PURPOSE)
    vault = SystemVault(
        "homes", SYSTEM.schema, office.table, office.trail, office.gate, signer, settings.actor
    )
    log = open_log(settings, SYSTEM.schema, "homes", vault)
    compact(log, datetime.now(UTC), vault=vault)
    rows = pl.concat(
        [log.files.read(path, ("record_id", "subject")).collect() for path in log.paths("predictions")]
    )
    kept = Counter(rows["record_id"].to_list())
    assert kept == Counter(key for key in answered if not key.startswith("0-"))
    assert set(rows["subject"].to_list()) == {f"owner {person}" for person in range(1, PEOPLE)}
    assert "0-0" in answered
    assert refused[0] > 0

    assert office.ring.every(refs) == [None, *before[1:]]
    assert int(out.split()[-1]) == max(office.status().kek_versions) > 1
    receipt = read_receipt(receipt_file(settings.receipts, "homes", refs[0]), office.receipt_signer)
    assert receipt.ref == refs[0].hex()
    office.table.close()
