"""A project with people in it, sealed snapshots of many ages, and models that were trained on them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner, Result

from lifecycle.cli import main
from lifecycle.core.record import SUBJECT_REF
from lifecycle.core.release import write_release
from lifecycle.core.settings import Settings
from lifecycle.core.values import Deployment, Lineage, Window
from lifecycle.records.vault import SystemVault
from lifecycle.wiring import open_ledger, open_office, open_signer
from lifecycle.wiring.adapters import vault_opener
from tests.office.clinic import SYSTEM

REPOSITORY = Path(__file__).parents[2]
MARKER = "Zyxwvut"
"""Stands in every identifier, and in nothing that anybody is shown."""
START = datetime(2026, 1, 1, tzinfo=UTC)
SHA = "0" * 64


def identifier(person: int) -> str:
    return f"{MARKER}-{person:05d}"


class Clinic:
    """A project, driven as a user drives it."""

    def __init__(self, root: Path, *, policy: bool = True) -> None:
        self.root = root
        self.settings = Settings(project=root)
        self.office = open_office(self.settings)
        declared = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["systems"]["house-prices"]
        declared |= {"entry": "tests.office.clinic:SYSTEM"}
        (root / "params.yaml").write_text(yaml.safe_dump({"systems": {"clinic": declared}}))
        if not policy:
            return  # somebody else made the project
        self.allow(["consent", "erase", "look-up", "register", "rotate", "shred"])

    def allow(self, acts: list[str], actor: str = "officer", **purposes: list[str]) -> None:
        """Write the policy: what one actor may do, and open for which purposes."""
        policy = {"format": 1, "actors": {actor: purposes}, "administration": {actor: acts}}
        (self.root / "access.yaml").write_text(yaml.safe_dump(policy))

    @property
    def vault(self) -> SystemVault:
        vault = vault_opener(self.settings, "clinic")(SYSTEM.schema)
        assert isinstance(vault, SystemVault)
        return vault

    def admit(self, count: int) -> list[bytes]:
        refs = self.vault.admit([identifier(person) for person in range(count)])
        return [ref for ref in refs if ref is not None]

    def seal(self, path: Path, refs: list[bytes], rows: int = 1) -> None:
        """A file with so many rows of each."""
        path.parent.mkdir(parents=True, exist_ok=True)
        owners = [ref for ref in refs for _ in range(rows)]
        table = pa.table(
            {
                SUBJECT_REF: pa.array(owners, pa.binary(16)),
                "age": pa.array(range(len(owners)), pa.float64()),
                "weight": pa.array(range(len(owners)), pa.float64()),
            }
        )
        self.vault.seal(table, path)

    def snapshot(self, parts: list[Path]) -> str:
        """A snapshot of these files in DVC's cache, as DVC lays it out; its id."""
        store = self.root / ".dvc" / "cache" / "files" / "md5"
        entries = []
        for path in parts:
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            target = store / digest[:2] / digest[2:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            entries.append({"md5": digest, "relpath": path.name})
        content = json.dumps(entries).encode()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"
        (store / digest[:2]).mkdir(exist_ok=True)
        (store / digest[:2] / digest[2:]).write_bytes(content)
        return digest

    def deploy(self, snapshot: str, version: str, decision: Any = "promote") -> None:
        """A version that was trained on a snapshot, live from then on."""
        window = Window(start=START, end=START, rows=1)
        lineage = Lineage(
            snapshot=snapshot,
            commit="c" * 40,
            params=SHA,
            environment=SHA,
            split=SHA,
            seed=int(version),
            train=window,
            validation=window,
            test=window,
        )
        facts = {
            "system": "clinic",
            "task": "regression",
            "threshold": 0.5,
            "lineage": lineage,
            "metrics": {},
            "parity": None,
            "engine": "skops",
            "engine_reason": "a test",
        }
        schema = self.root / "schema.json"
        schema.write_text(SYSTEM.schema.model_dump_json())
        release = write_release(
            {"schema.json": schema}, facts, self.settings.releases, open_signer(self.settings)
        )
        ledger = open_ledger(self.settings)
        live = ledger.live("clinic")
        row = Deployment(
            id=0,
            system="clinic",
            decided_at=START + timedelta(days=int(version)),
            as_of=START,
            actor="ada",
            decision=decision,
            release=release,
            version=version,
            previous=None,
            evidence={},
        )
        ledger.record(row, expected=live.id if live else None)

    def run(self, *words: str, who: int | None = None, expect: int = 0) -> Result:
        """A verb of `lifecycle records`; the identifier of somebody is on its standard input."""
        given = None if who is None else f"{identifier(who)}\n"
        done = CliRunner().invoke(main, ["records", *words], input=given)
        assert done.exit_code == expect, f"{words}: {done.exit_code}\n{done.output}\n{done.exception!r}"
        assert MARKER not in done.output
        return done

    def json(self, *words: str, who: int | None = None) -> Any:
        return json.loads(self.run(*words, "--json", who=who).stdout)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run code in a process of its own, with the settings of this project."""
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def clinic(tmp_path, monkeypatch) -> Clinic:
    monkeypatch.setenv("LIFECYCLE_ACTOR", "officer")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    kept = dict(os.environ)
    yield Clinic(tmp_path)
    os.environ.clear()  # a verb that starts a flow sets what its children need
    os.environ.update(kept)
