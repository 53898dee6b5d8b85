"""The quarantine: where refused rows are described, and the bound on how many there may be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType

import polars as pl

from lifecycle.core.errors import QuarantineError

_MOST_COMMON = 5


class Quarantine:
    """Collects faults in a file of JSON lines, one per fault: source, row, field, value class and reason.

    The file appears under its name when it is whole; without faults there is none, and one that an earlier
    ingest left is removed.

    Args:
        path: The file to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.draft")
        self._reasons: Counter[tuple[str, str, str]] = Counter()
        self._first: dict[tuple[str, str, str], str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._draft.open("wb")

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._draft.unlink(missing_ok=True)

    def add(self, faults: pl.DataFrame) -> None:
        """Describe faulty rows.

        Args:
            faults: Lines as in ``tables.FAULTS``.
        """
        if not faults.height:
            return
        self._stream.write(faults.write_ndjson().encode())
        groups = faults.group_by("source", "field", "value", "reason", maintain_order=True)
        for source, field, value, reason, rows, first in groups.agg(
            pl.len(), pl.col("row").min()
        ).iter_rows():
            key = (field, value, reason)
            self._reasons[key] += rows
            self._first.setdefault(key, f"row {first} of {source}")

    def close(self) -> Path | None:
        """Publish the file; None where nothing was refused."""
        self._stream.close()
        if not self._reasons:
            self.path.unlink(missing_ok=True)
            return None
        self._draft.replace(self.path)
        return self.path

    def judge(self, refused: int, of: int, max_share: float) -> None:
        """Stop where more rows were refused than the system allows.

        Args:
            refused: Rows refused.
            of: Rows that exist by ``as_of``.
            max_share: The share that is tolerated.

        Raises:
            QuarantineError: The share is above the bound; the most common reasons are listed.
        """
        if not refused or refused <= max_share * of:
            return
        common = self._reasons.most_common(_MOST_COMMON)
        lines = [
            f"  - {f}: {v}, {why}: {count} × (first: {self._first[f, v, why]})"
            for (f, v, why), count in common
        ]
        rest = len(self._reasons) - len(common)
        lines += [f"  - and {rest} more reason{'s' if rest > 1 else ''}"] if rest else []
        raise QuarantineError(
            f"{refused} of {of} rows were refused: {refused / of:.2%}, and {max_share:.2%} is allowed\n"
            + "\n".join(lines),
            hint=f"every fault stands in {self.path}; mend the source, or raise quarantine.max_share",
        )
