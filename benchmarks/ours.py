"""Our server as it is deployed: `lifecycle serve`, every request logged, counted and asked for an API key."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from benchmarks.peers.registry import Record
from benchmarks.project import Project
from benchmarks.serving import server, wait_until_ready
from lifecycle.core.clock import SystemClock
from lifecycle.core.layout import Layout
from lifecycle.core.ports import Ledger
from lifecycle.core.release import MANIFEST, Manifest, read_schema, write_release
from lifecycle.core.rows import encode_records
from lifecycle.core.settings import Settings
from lifecycle.core.values import Deployment, Release
from lifecycle.data.reading import read_records
from lifecycle.serving.key_file import KeyFile
from lifecycle.wiring import open_engine, open_ledger, open_signer, open_store

RECORDS = 500


@dataclass(frozen=True)
class Up:
    """Our server, up.

    Attributes:
        address: Such as ``http://127.0.0.1:43210``.
        process: Of the server.
        ready_s: From its start to the first 200 of ``/readyz``, seconds.
        ready_mb: Resident then, MB.
    """

    address: str
    process: psutil.Process
    ready_s: float
    ready_mb: float


class Ours:
    """What is live in a project, served beside copies of its ledger so that the project is left as it was.

    Args:
        project: With a live release.
        folder: Scratch.
    """

    def __init__(self, project: Project, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.project = project
        self.folder = folder
        self.system = project.story.system
        self.path = f"/v1/{self.system}/predict"
        keys = KeyFile(folder / "keys.json")
        self.key = keys.issue("benchmark", ("admin",), (), SystemClock().now())

    @cached_property
    def release(self) -> Path:
        """The folder of the live release."""
        return open_store(self.project.settings).fetch(self._live(open_ledger(self.project.settings)).release)

    @cached_property
    def records(self) -> Sequence[Record]:
        """Of the newest test window."""
        layout = Layout(self.project.worktree, self.system)
        return read_records(read_schema(self.release), layout.data, layout.manifest, "test", RECORDS)

    @cached_property
    def bodies(self) -> list[bytes]:
        """The records as request bodies."""
        return [json.dumps(record).encode() for record in self.records]

    def answers(self, count: int) -> dict[str, float]:
        """Record id -> what the live release answers; the limit and the peers are held to it."""
        model = open_engine(self.release, self.project.root)
        schema = read_schema(self.release)
        request = schema.request_model()
        some = [vars(request.model_validate_json(body)) for body in self.bodies[:count]]
        predicted = model.predict(encode_records(schema, some)).tolist()
        model.close()
        return {
            str(record[schema.record_id.name]): value
            for record, value in zip(self.records, predicted, strict=False)
        }

    def ledger(self, name: str) -> tuple[Ledger, str]:
        """A copy of the project's ledger, and its URL."""
        copy = self.folder / f"{name}.db"
        shutil.copyfile(self.project.settings.state / "ledger.db", copy)
        url = f"sqlite:///{copy}"
        return open_ledger(Settings(project=self.project.root, home=Path(".lifecycle"), ledger_url=url)), url

    def promote(self, ledger: Ledger, release: Release) -> None:
        """Make a release live in a ledger."""
        live = self._live(ledger)
        change = {
            "release": release,
            "decision": "promote",
            "decided_at": SystemClock().now(),
            "evidence": {},
        }
        ledger.record(live.model_copy(update=change), expected=live.id)

    def variant(self, **serving: object) -> Release:
        """The live release with other settings of serving, signed anew."""
        manifest = Manifest.model_validate_json((self.release / MANIFEST).read_bytes())
        facts = manifest.model_dump(exclude={"files"})
        facts["serving"] = facts["serving"] | serving
        settings = self.project.settings
        files = {name: self.release / name for name in manifest.files}
        return write_release(files, facts, settings.releases, open_signer(settings))

    @contextmanager
    def up(self, ledger_url: str = "", settings: Mapping[str, str] = {}) -> Iterator[Up]:
        """A server that is ready: one worker, API keys asked for, predictions logged."""
        extra = {"LIFECYCLE_API_KEYS": str(self.folder / "keys.json"), **settings}
        extra |= {"LIFECYCLE_LEDGER_URL": ledger_url} if ledger_url else {}
        begun = time.perf_counter()
        with server(self.project, "-m", "lifecycle", "serve", "--port", "0", extra=extra) as process:
            address = wait_until_ready(process, begun)
            ready, found = time.perf_counter() - begun, psutil.Process(process.pid)
            yield Up(address, found, ready, found.memory_info().rss / 1e6)

    def _live(self, ledger: Ledger) -> Deployment:
        live = ledger.live(self.system)
        if live is None:
            raise SystemExit(f"no release of {self.system} is live")
        return live
