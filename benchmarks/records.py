"""Sealed records: one ciphertext per subject, beside Fernet for each field, and beside plain Parquet."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.fernet import Fernet

from benchmarks.bench import Bench
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from lifecycle.records.plan import Plan
from lifecycle.records.sealing import seal_segment
from lifecycle.records.segment import SealedSegment
from lifecycle.records.subject_keys import SubjectKey

_MEASUREMENTS = 16
_TIMES_FERNET = {1: 25, 10: 100}
"""Rows per subject -> how many times Fernet's rate is asked for."""
_SIZE = {1: 1.6, 10: 1.10}
"""Rows per subject -> how many times the size of plain Parquet is allowed."""
_FERNET_SHARE = 50  # one row of this many is also encrypted field by field


@dataclass
class _Keys:
    """Raw keys in memory, as the key table's cache holds them."""

    held: dict[bytes, tuple[SubjectKey, ...]]

    def newest(self, refs: Sequence[bytes]) -> list[SubjectKey]:
        return [self.held[ref][-1] for ref in refs]

    def every(self, refs: Sequence[bytes]) -> list[tuple[SubjectKey, ...] | None]:
        return [self.held[ref] for ref in refs]


@dataclass
class _Found:
    """What the rounds gave, rows per second of processor time, and sizes beside plain Parquet."""

    seal: list[float] = field(default_factory=list)
    open: list[float] = field(default_factory=list)
    write: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    fernet_seal: list[float] = field(default_factory=list)
    fernet_open: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)


def measure(bench: Bench) -> Figure:
    """Seal and open the same rows at 1, 10 and 1,000 rows per subject."""
    lines: list[Measured] = []
    for per_subject in (1, 10, 1000):
        bench.say(f"records: {per_subject:,} rows per subject")
        lines += _lines(per_subject, _rounds(bench, per_subject, made_up))
    rounded = _rounds(bench, 10, _rounded)
    return Figure(
        name="records",
        title="Sealed records",
        how=(
            f"{bench.size.sealed:,} made-up rows of 20 columns ({_MEASUREMENTS} measurements in full "
            "precision, age, day, sex, smoker), visits of different subjects interleaved, all in one access "
            "group: sealed from an Arrow table into a file with its digest, and opened into an Arrow table "
            "in the original order. Rows per second of processor time, all threads together; raw keys are "
            "in memory, in the order in which they are asked for. Fernet encrypts each field under its "
            f"subject's key, on every {_FERNET_SHARE}th row. "
            "Plain Parquet is the same table as pyarrow writes and reads it. "
            f"{bench.size.rounds} rounds in turn, compared round by round."
        ),
        lines=tuple(lines),
        notes=(
            "Measurements rounded to one decimal, as laboratories report them: plain Parquet makes a "
            "dictionary of each column, which would outlive an erasure. Sealed, at 10 rows per subject, "
            f"they take {np.median(rounded.size):.2f}× its size.",
        ),
    )


def _lines(per_subject: int, found: _Found) -> list[Measured]:
    at = f"{per_subject:,} row{'s' if per_subject > 1 else ''} per subject"
    lines = []
    for what, ours, fernet, plain, limit in (
        ("seal", found.seal, found.fernet_seal, found.write, "plain Parquet, written"),
        ("open", found.open, found.fernet_open, found.read, "plain Parquet, read"),
    ):
        rate = Samples.of(ours, "rows/s")
        lines.append(Measured(f"{what}, {at}", rate, beside=Beside(limit, Samples.of(plain, "rows/s"))))
        lines.append(Measured(f"{what}, {at}", rate, beside=Beside("Fernet", Samples.of(fernet, "rows/s"))))
        times = Samples.of(np.divide(ours, fernet).tolist(), "")
        asked = Bound("at least", _TIMES_FERNET[per_subject]) if per_subject in _TIMES_FERNET else None
        lines.append(Measured(f"{what}, {at}: times Fernet per field", times, asked))
    share = Samples.of(np.divide(found.open, found.read).tolist(), "")
    asked = Bound("at least", 0.2) if per_subject > 1 else None
    lines.append(Measured(f"open, {at}: of reading plain Parquet", share, asked))
    allowed = Bound("at most", _SIZE.get(per_subject, _SIZE[10]))
    lines.append(Measured(f"size, {at}: times plain Parquet", Samples.of(found.size, ""), allowed))
    return lines


def _rounds(bench: Bench, per_subject: int, make: Callable[[int, np.ndarray], Any]) -> _Found:
    """All contenders in turn, some times over."""
    rows = bench.size.sealed
    subjects = max(1, rows // per_subject)
    rng = np.random.default_rng(per_subject)
    raw = np.frombuffer(rng.bytes(16 * subjects), np.uint8).reshape(subjects, 16)
    whose = rng.permutation(np.arange(rows) % subjects)
    table = make(rows, raw[whose])
    # In the order of the refs, which is how a segment asks for them.
    keys = _Keys({ref: (SubjectKey(1, os.urandom(32)),) for ref in sorted(ref.tobytes() for ref in raw)})
    plan = Plan(
        "bench", "ref", dict.fromkeys(table.column_names[1:], "clinical"), {"sex": ("female", "male")}
    )
    path, plain, found = bench.folder / "sealed.parquet", bench.folder / "plain.parquet", _Found()

    def seal() -> None:
        seal_segment([table], table.schema, path, plan=plan, keys=keys, segment=uuid4())

    def opened() -> Any:
        return SealedSegment(path).read(keys, ["clinical"]).table

    part = table.slice(0, max(1, rows // _FERNET_SHARE))
    for number in range(bench.size.rounds + 1):
        rates = [rows / _seconds(seal), rows / _seconds(opened)]
        rates.append(rows / _seconds(lambda: pq.write_table(table, plain)))
        rates.append(rows / _seconds(lambda: pq.read_table(plain)))
        rates += _fernet(part, keys)
        if number:  # the first round warms up
            for name, rate in zip(
                ("seal", "open", "write", "read", "fernet_seal", "fernet_open"), rates, strict=True
            ):
                getattr(found, name).append(rate)
            found.size.append(path.stat().st_size / plain.stat().st_size)
    if not opened().equals(table):
        raise AssertionError("what was opened is not what was sealed")
    return found


def _fernet(table: Any, keys: _Keys) -> tuple[float, float]:
    """Rows per second that each field takes as a token of its own, sealed and opened."""
    refs = table["ref"].to_pylist()
    ciphers = {ref: Fernet(base64.urlsafe_b64encode(keys.held[ref][0].secret)) for ref in set(refs)}
    tokens: list[list[bytes]] = []

    def seal() -> None:
        for name in table.column_names[1:]:
            values = table[name].to_pylist()
            tokens.append(
                [ciphers[ref].encrypt(str(value).encode()) for ref, value in zip(refs, values, strict=True)]
            )

    def opened() -> None:
        for column in tokens:
            pa.array([ciphers[ref].decrypt(token).decode() for ref, token in zip(refs, column, strict=True)])

    return len(refs) / _seconds(seal), len(refs) / _seconds(opened)


def made_up(rows: int, refs: np.ndarray) -> Any:
    """Twenty columns and whose they are: uint8 (rows, 16)."""
    rng = np.random.default_rng(rows)
    columns = {"ref": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(refs)])}
    for number in range(_MEASUREMENTS):
        columns[f"measurement_{number}"] = pa.array(rng.normal(100, 20, rows))
    columns["age"] = pa.array(rng.integers(18, 95, rows))
    columns["day"] = pa.array(rng.integers(20_000, 20_730, rows).astype(np.int32), pa.date32())
    columns["sex"] = pa.array(rng.choice(["female", "male"], rows))
    columns["smoker"] = pa.array(rng.random(rows) < 0.2)
    return pa.table(columns)


def _rounded(rows: int, refs: np.ndarray) -> Any:
    table = made_up(rows, refs)
    for number in range(_MEASUREMENTS):
        name = f"measurement_{number}"
        table = table.set_column(number + 1, name, pa.array(table[name].to_numpy().round(1)))
    return table


def _seconds(work: Callable[[], object]) -> float:
    """Processor time of all threads."""
    start = time.process_time()
    work()
    return max(time.process_time() - start, 1e-9)
