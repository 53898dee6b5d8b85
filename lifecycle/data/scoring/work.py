"""The output folder and the work folder beside it: what is finished survives a kill, one rename publishes."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from lifecycle.core.errors import BusyError, IntegrityError, StateError
from lifecycle.core.ports import Vault
from lifecycle.core.release import file_entry
from lifecycle.core.scoring import MANIFEST, OutputFile, ScoreCounts, ScoreManifest, ScorePlan
from lifecycle.core.values import Value
from lifecycle.data.scoring.records import Answered
from lifecycle.data.source_parquet import count
from lifecycle.data.storage import storing

PLAN = "plan.json"
QUARANTINE = "quarantine.jsonl"
_DRAFT = ".draft"
_OURS = re.compile(
    r"(part|chunk|faults)-\d{5,}\.(parquet|json|jsonl)|(plan|manifest|segments)\.json|segments\.json\.sig"
    r"|quarantine\.jsonl"
)


class ChunkRecord(Value):
    """A finished chunk; written after its files, so that where it is, they are whole.

    Attributes:
        index: From 0.
        counts: What became of its rows.
        bins: Answers per bin of the release's reference; empty if it has none.
        part: The scores.
        faults: What is wrong with the refused rows; None if there are none.
    """

    index: int
    counts: ScoreCounts
    bins: tuple[int, ...]
    part: OutputFile
    faults: OutputFile | None


class WorkFolder:
    """Where one output is made: ``.scores.scoring`` beside ``scores``.

    Args:
        out: The output folder; it appears when all is in it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(f".{out.name}.scoring")

    @contextmanager
    def held(self) -> Iterator[WorkFolder]:
        """Hold the output for one job. The lock is on the folder itself, and the kernel frees it.

        Raises:
            BusyError: Another job makes this output now.
            StateError: There is a file, or a folder of something else, where the output is to be.
        """
        with storing(str(self.path)):
            descriptor = self._locked()
        try:
            yield self
        finally:
            try:
                with suppress(OSError):
                    self.path.rmdir()  # does nothing while something is in it
            finally:
                os.close(descriptor)

    def _locked(self) -> int:
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(self.path, descriptor):
                    return descriptor  # else it was published or removed in between
            except BlockingIOError:
                os.close(descriptor)
                raise BusyError(
                    f"another job is writing {self.out}",
                    hint="wait until it ends, or choose another --output",
                ) from None
            os.close(descriptor)

    def published(self) -> ScoreManifest | None:
        """What the output folder holds; None where nothing is published yet.

        Raises:
            IntegrityError: A file that the manifest names is missing or of another size.
            StateError: The folder holds something else.
        """
        path = self.out / MANIFEST
        if path.is_file():
            manifest = _manifest(path)
            files = (*manifest.parts, *([manifest.quarantine] if manifest.quarantine else []))
            for file in files:
                target = self.out / file.name
                if not target.is_file() or target.stat().st_size != file.size:
                    raise IntegrityError(
                        f"{target} is not as {path.name} says", hint=f"remove {self.out} and score again"
                    )
            return manifest
        if self.out.is_dir() and not any(self.out.iterdir()):
            return None
        if self.out.exists() or self.out.is_symlink():
            raise StateError(
                f"{self.out} holds something that no {MANIFEST} names", hint="choose another --output"
            )
        return None

    def begin(self, plan: ScorePlan, *, restart: bool) -> None:
        """Start or resume a plan.

        Args:
            plan: What is to be made.
            restart: Whether to drop what is there, whatever it is.

        Raises:
            StateError: Chunks of another plan are there.
        """
        with storing(str(self.path)):
            if restart:
                self._clear()
            waiting = self._waiting()
            if waiting is not None and waiting.job != plan.job:
                raise _mixing(self.path, waiting, plan)
            for path in self.path.glob(f"*{_DRAFT}"):
                path.unlink()
            if waiting is None:
                self._clear()
                self._write(PLAN, plan.model_dump_json(indent=1).encode())

    def _waiting(self) -> ScorePlan | None:
        """The plan whose chunks are here."""
        if (self.path / MANIFEST).is_file():
            return _manifest(self.path / MANIFEST).plan
        path = self.path / PLAN
        return ScorePlan.model_validate_json(path.read_bytes()) if path.is_file() else None

    def _clear(self) -> None:
        for path in self.path.iterdir():
            if _OURS.fullmatch(path.name.removesuffix(_DRAFT)):
                path.unlink()

    def record(self, index: int) -> ChunkRecord | None:
        """A chunk that was finished before; None where it was not, or where its files have changed."""
        path = self.path / f"chunk-{index:05}.json"
        try:
            found = ChunkRecord.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        files = [found.part, *([found.faults] if found.faults else [])]
        return found if all(self._is_whole(file) for file in files) else None

    def _is_whole(self, file: OutputFile) -> bool:
        path = self.path / file.name
        if not path.is_file():
            return False
        entry = file_entry(path)
        return (entry.sha256, entry.size) == (file.sha256, file.size)

    def finish(self, chunk: Answered, bins: NDArray[np.int64], vault: Vault | None = None) -> ChunkRecord:
        """Write a chunk's files, the scores sealed if there is a vault, then its record."""
        with storing(str(self.path)):
            part = self._write_scores(f"part-{chunk.index:05}.parquet", chunk.table, vault)
            faults = None
            if chunk.faults.height:
                lines = chunk.faults.write_ndjson().encode()
                faults = self._write(f"faults-{chunk.index:05}.jsonl", lines, chunk.faults.height)
            record = ChunkRecord(
                index=chunk.index, counts=chunk.counts, bins=tuple(bins.tolist()), part=part, faults=faults
            )
            self._write(f"chunk-{chunk.index:05}.json", record.model_dump_json().encode())
        return record

    def _write_scores(self, name: str, table: pl.DataFrame, vault: Vault | None) -> OutputFile:
        if vault is None:
            content = io.BytesIO()
            # Statistics are left out: prediction ids are long and nobody filters by them.
            table.write_parquet(content, compression="zstd", compression_level=1, statistics=False)
            return self._write(name, content.getbuffer(), table.height)
        vault.seal(table.rechunk().to_arrow(), self.path / name)
        _sync(self.path)
        entry = file_entry(self.path / name)
        return OutputFile(name=name, rows=table.height, size=entry.size, sha256=entry.sha256)

    def rows(self, part: OutputFile, vault: Vault | None = None) -> int:
        """How many rows a file of scores says it has."""
        path = self.path / part.name
        return count(path) if vault is None else vault.rows(path)

    def quarantine(self, records: Sequence[ChunkRecord]) -> OutputFile | None:
        """Join what is wrong with the rows of all chunks; None where nothing is."""
        faults = [record.faults for record in records if record.faults]
        if not faults:
            return None
        with storing(str(self.path)):
            draft = self.path / f"{QUARANTINE}{_DRAFT}"
            with draft.open("wb") as stream:
                for file in faults:
                    stream.write((self.path / file.name).read_bytes())
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.path / QUARANTINE)
            entry = file_entry(self.path / QUARANTINE)
        return OutputFile(
            name=QUARANTINE, rows=sum(file.rows for file in faults), size=entry.size, sha256=entry.sha256
        )

    def sealed(self, plan: ScorePlan) -> ScoreManifest | None:
        """The manifest of this plan, if a run was killed between writing it and publishing."""
        path = self.path / MANIFEST
        found = _manifest(path) if path.is_file() else None
        return found if found and found.job == plan.job else None

    def publish(self, manifest: ScoreManifest, vault: Vault | None = None) -> None:
        """Write the manifest, drop what it does not name, and rename the folder into place.

        Killed anywhere in it, the next run of the same job publishes the same.
        """
        with storing(str(self.out)):
            for path in self.path.glob("part-*.parquet"):
                if path.name not in manifest.files:
                    path.unlink()
            signed = vault.close(self.path) if vault else ()
            if self.sealed(manifest.plan) is None:
                self._write(MANIFEST, manifest.model_dump_json(indent=1).encode())
            for path in self.path.iterdir():
                if path.name not in manifest.files and path.name not in signed:
                    path.unlink()
            _sync(self.path)
            self.path.rename(self.out)
            _sync(self.out.parent)

    def _write(self, name: str, content: bytes | memoryview, rows: int = 0) -> OutputFile:
        draft = self.path / f"{name}{_DRAFT}"
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.path / name)
        _sync(self.path)
        digest = hashlib.sha256(content).hexdigest()
        return OutputFile(name=name, rows=rows, size=len(content), sha256=digest)


def _manifest(path: Path) -> ScoreManifest:
    try:
        return ScoreManifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise StateError(f"{path} is no manifest of scores", hint="choose another --output") from None


def _mixing(folder: Path, waiting: ScorePlan, plan: ScorePlan) -> StateError:
    """The refusal to mix chunks, with everything in which the two plans differ."""
    differs = [
        f"  - {what}: {before} before, {now} now"
        for what, before, now in (
            ("system", waiting.system, plan.system),
            ("release", waiting.release[:12], plan.release[:12]),
            ("version", waiting.version, plan.version),
            ("rows per chunk", waiting.chunk_rows, plan.chunk_rows),
        )
        if before != now
    ]
    if [file.sha256 for file in waiting.inputs] != [file.sha256 for file in plan.inputs]:
        differs.append("  - the input files, or their content")
    if waiting.reading != plan.reading:
        differs.append("  - how columns are read")
    return StateError(
        f"{folder} holds finished chunks of another job:\n" + "\n".join(differs),
        hint="finish that job with its own release (--version) and files, or drop its chunks with --restart",
    )


def _is(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to the folder that was opened."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
