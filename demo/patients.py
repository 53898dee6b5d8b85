"""`make demo-patients`: sealed records, scored overnight, forgotten when somebody asks."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx
from rich.console import Console

from demo.client import ask_all
from demo.memory import found_in_memory
from demo.story import REPOSITORY
from systems.patient_outcome import SYSTEM

NAME = "patient-outcome"
PIPELINE, OFFICER = "pipeline", "privacy-officer"
"""Whom the policy in ``access.yaml`` allows to train, and to do what people ask for."""

FIRST, SECOND = date(2010, 1, 1), date(2011, 1, 1)
NIGHTS = (date(2010, 1, 4), date(2010, 1, 5), date(2010, 1, 6))
SOURCE = Path("systems") / "patient_outcome" / "patients.csv.gz"
READY_SECONDS = 30
IN_CLEAR = re.compile(rb"TEST-\d{8}|Example Avenue|Synthetic note")
"""What stands in every patient's record: a number, an address, a note."""

Patient = dict[str, str]


class PatientStory:
    """The demo, in a project of its own.

    Args:
        folder: The project's; what an earlier demo left there is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.project = folder
        self.console = Console(highlight=False)

    def tell(self) -> None:
        """All chapters."""
        shutil.rmtree(self.project, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(self.project)], check=True)
        patients = self._patients()
        learnt = [
            it
            for it in patients
            if it["index_date"] < "2000" and it["died_within_5_years"] and it["consent_training"] == "1"
        ]
        withdrawing, leaving = learnt[0], learnt[1]
        with self._chapter(
            f"First deployment, as of {FIRST}: {len(patients):,} patients, sealed on the way in"
        ):
            self._lifecycle("first-deployment", NAME, "--as-of", FIRST.isoformat())
        with self._chapter("Three nights: who arrived during the day is scored, and the scores are sealed"):
            for night in NIGHTS:
                self._score(night, [it for it in patients if it["index_date"] == night.isoformat()])
        with self._chapter("By day an application asks about some of them, and the service forgets"):
            self._serve([leaving, *_newcomers(patients)])
        with self._chapter("One patient withdraws consent to training; the models that know them are listed"):
            self._about(withdrawing, "consent", "withdraw", NAME, "--purpose", "training")
        with self._chapter("Another asks to be forgotten: keys destroyed, proof, a signed receipt"):
            self._about(leaving, "erase", NAME, "--yes")
        with self._chapter(f"Update, as of {SECOND}, without the two"):
            self._lifecycle("update", NAME, "--as-of", SECOND.isoformat(), "--trigger", "erasure")
        with self._chapter("The audit trail: who read whose records, and that nothing in it was changed"):
            self._lifecycle("records", "audit", "verify")
            self._about(withdrawing, "audit", "who", NAME)
        with self._chapter("Every byte that was written is looked through for a patient in clear"):
            self._look()

    def _patients(self) -> list[Patient]:
        with gzip.open(self.project / SOURCE, "rt", encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def _score(self, night: date, arrived: list[Patient]) -> None:
        """Score a day's arrivals; their file is what a hospital would bring, and is gone afterwards."""
        file = self.project / f"arrivals-{night}.csv"
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, arrived[0])
            writer.writeheader()
            writer.writerows(arrived)
        try:
            self._lifecycle("score", NAME, "--input", file.name, "--output", f".lifecycle/scores/{night}")
        finally:
            file.unlink()

    def _serve(self, patients: list[Patient]) -> None:
        """Ask the prediction service about patients, look through its memory, and compact what it logged."""
        command = [sys.executable, "-P", "-m", "lifecycle", "serve", "--port", "0"]
        environment = self._environment | {"LIFECYCLE_LOG_FORMAT": "text"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as service:
            assert service.stdout is not None
            try:
                address = json.loads(service.stdout.readline())["address"]
                _wait_until_ready(address)
                answers = ask_all(f"{address}/v1/{NAME}/predict", [_request(it) for it in patients])
                left = found_in_memory(service.pid, IN_CLEAR)
            finally:
                service.terminate()
        self.console.print(
            f"  {len(patients):,} asked about, {answers.failures} failures; "
            f"{len(left)} of them found in the memory of the service"
        )
        if answers.failures or left:
            raise SystemExit("every patient gets an answer, and none stays in memory")
        self._lifecycle("log", "compact", NAME)

    def _about(self, patient: Patient, *words: str) -> None:
        """A command about a person, whose number is typed and never an argument."""
        self._lifecycle("records", *words, typed=patient["patient_id"], actor=OFFICER)

    def _look(self) -> None:
        files = [path for path in self.project.rglob("*") if path.is_file() and not path.is_symlink()]
        # Not in what was cloned: the source itself, and this very file.
        cloned = {".git", "systems", "demo"}
        ours = [path for path in files if cloned.isdisjoint(path.relative_to(self.project).parts)]
        found = [path for path in ours if IN_CLEAR.search(path.read_bytes())]
        self.console.print(f"  {len(ours):,} files, {len(found)} of them show a patient")
        if found:
            raise SystemExit(f"{found[0]} shows a patient in clear: none may")

    @contextmanager
    def _chapter(self, title: str) -> Iterator[None]:
        self.console.rule(f"[bold]{title}", align="left")
        start = time.monotonic()
        yield
        self.console.print(f"  [green]✓[/] {time.monotonic() - start:.1f} s\n")

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"LIFECYCLE_PROJECT": str(self.project), "LIFECYCLE_ACTOR": PIPELINE}

    def _lifecycle(self, *words: str, typed: str = "", actor: str = PIPELINE) -> None:
        """Run a command as a user would in a shell there."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "lifecycle", *words],
            cwd=self.project,
            env=self._environment | {"LIFECYCLE_ACTOR": actor},
            input=typed.encode(),
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"`lifecycle {' '.join(words)}` ended with exit code {done.returncode}")


def _newcomers(patients: list[Patient]) -> list[Patient]:
    """Patients of a month as people nobody has met: known by a number that is easily found in memory."""
    return [
        it | {"patient_id": it["medical_record_number"], "visit_id": f"{it['medical_record_number']}-1"}
        for it in patients
        if it["index_date"].startswith("2010-02")
    ]


def _request(patient: Patient) -> dict[str, str | None]:
    """What an application sends of a patient: what the model reads, and who it is; no name, no address."""
    columns = [*(spec.name for spec in SYSTEM.schema.features), *(key.name for key in SYSTEM.schema.keys)]
    return {name: patient[name] or None for name in columns}


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while httpx.get(f"{address}/readyz").status_code != httpx.codes.OK:
        if time.monotonic() > deadline:
            raise SystemExit("the prediction service does not get ready")
        time.sleep(0.05)


def main() -> None:
    """Tell the story once."""
    start = time.monotonic()
    folder = REPOSITORY / ".lifecycle" / "demo" / "patients"
    PatientStory(folder).tell()
    print(f"The whole story took {time.monotonic() - start:.0f} s. Look around: {folder}/.lifecycle/receipts")


if __name__ == "__main__":
    main()
