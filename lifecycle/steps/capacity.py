"""What this machine can do for a system: its release and records, found, handed to the load generator."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lifecycle.core.capacity import CapacityReport
from lifecycle.core.errors import StateError
from lifecycle.core.layout import Layout
from lifecycle.core.ports import Ledger, ReleaseStore
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import SCHEMA, read_schema
from lifecycle.core.settings import Settings
from lifecycle.core.suggest import nearest
from lifecycle.core.synthetic import synthetic_records
from lifecycle.core.values import Deployment
from lifecycle.serving.load.capacity import Measuring, measure, trial_servers

RECORDS = 500
"""Request bodies that are sent in turn."""

LOAD_SECONDS = 3.0
"""Shortest load: a queue needs time to show."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        system: Name of the system.
        per_s: The rate that is to be served, requests a second.
        budget: Bound on the 99th percentile, seconds.
        headroom: Share of each machine's capacity that is kept free.
        seconds: Length of one load; None is 3 s, or ten times the budget where that is longer.
        workers: Serving processes to start.
        release: Digest, or its beginning, of a release other than the live one.
        urls: Addresses of a running service; none starts one.
        headers: Further header lines for it.
    """

    system: str
    per_s: float
    budget: float
    headroom: float = 0.3
    seconds: float | None = None
    workers: int = 1
    release: str | None = None
    urls: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


def find_capacity(
    question: Question,
    settings: Settings,
    ledger: Ledger,
    store: ReleaseStore,
    estimator: Sequence[str] = (),
    say: Callable[[str], None] = lambda _line: None,
) -> CapacityReport:
    """Measure this machine, or a running service from this machine.

    Args:
        question: What is asked.
        settings: Where things are.
        ledger: Knows the releases.
        store: Brings one here, verified.
        estimator: The command that runs a scikit-learn estimator, for a release that needs one.
        say: Takes a line of progress.

    Raises:
        StateError: Nothing is live, or no such release is known.
        StageError: A record is refused.
        UnavailableError: What is measured does not answer.
    """
    load_before = os.getloadavg()[0]
    deployment = _chosen(ledger, question.system, question.release)
    folder = store.fetch(deployment.release)
    bodies, source = request_bodies(question.system, read_schema(folder), settings)
    measuring = Measuring(
        path=f"/v1/{question.system}/predict",
        bodies=bodies,
        budget=question.budget,
        seconds=question.seconds or max(LOAD_SECONDS, 10 * question.budget),
        headers=question.headers,
        say=say,
    )
    digest = deployment.release.digest
    if question.urls:
        say(f"asking {', '.join(question.urls)} for {question.system} with {source}")
        found = measure(question.urls, measuring)
        measured = f"the service at {', '.join(question.urls)}"
    else:
        say(f"starting release {digest[:12]} of {question.system}, to be asked with {source}")
        with trial_servers(settings, folder, question.workers, estimator) as addresses:
            found = measure(addresses, measuring)
        processes = (
            "one serving process" if question.workers == 1 else f"{question.workers} serving processes"
        )
        measured = (
            f"{processes} of release {digest[:12]}, {os.cpu_count()} cores shared with the load generator"
        )
    return CapacityReport(
        system=question.system,
        release=digest,
        measured=measured,
        workers=None if question.urls else question.workers,
        records=source,
        asked_per_s=question.per_s,
        headroom=question.headroom,
        cores=os.cpu_count() or 1,
        load_before=round(load_before, 2),
        capacity=found,
    )


def _chosen(ledger: Ledger, system: str, release: str | None) -> Deployment:
    """The live deployment, or the newest one of a release."""
    if release is None:
        live = ledger.live(system)
        if live is None:
            raise StateError(
                f"no release of {system} is live", hint=f"deploy one: lifecycle first-deployment {system}"
            )
        return live
    known = {row.release.digest: row for row in ledger.history(system)}
    found = [row for digest, row in known.items() if digest.startswith(release)]
    if len(found) != 1:
        raise StateError(
            f"{len(found) or 'no'} releases of {system} are named {release}{nearest(release, known)}",
            hint=f"see: lifecycle history {system}",
        )
    return found[0]


def request_bodies(system: str, schema: RecordSchema, settings: Settings) -> tuple[Sequence[bytes], str]:
    """Request bodies for a release, and where they come from, in words.

    Args:
        system: Its name.
        schema: The release's record schema.
        settings: The system's worktree lies below their state.

    Returns:
        Records of the newest test window, where the system's worktree holds one of this very schema; else
        made-up records.
    """
    layout = Layout(settings.state / "worktrees" / system, system)
    if layout.manifest.is_file() and not schema.is_sealed and _same_schema(layout.model / SCHEMA, schema):
        from lifecycle.data.reading import read_records

        records = read_records(schema, layout.data, layout.manifest, "test", RECORDS)
        if records:
            return [json.dumps(record).encode() for record in records], "records of the test window"
    fields = [spec.name for spec in (*schema.keys, *schema.features)]
    made_up = [{name: record[name] for name in fields} for record in synthetic_records(schema, RECORDS)]
    return [json.dumps(record, default=lambda moment: moment.isoformat()).encode() for record in made_up], (
        "made-up records of its schema, as there is no test window of it here"
    )


def _same_schema(path: Path, schema: RecordSchema) -> bool:
    return path.is_file() and read_schema(path.parent) == schema
