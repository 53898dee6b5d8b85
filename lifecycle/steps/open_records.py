"""Opens sealed files for somebody who may have them: a night's scores, or a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from lifecycle.core.errors import ConfigError
from lifecycle.core.ports import Vault
from lifecycle.core.values import Value
from lifecycle.data.plaintext import require_new, write_csv, write_plaintext


class Handed(Value):
    """What was handed out.

    Attributes:
        rows: How many rows.
        erased: Rows that are not among them, because their subject was erased.
        columns: Names of the columns.
        purpose: What for.
    """

    rows: int
    erased: int
    columns: tuple[str, ...]
    purpose: str


def open_records(
    vault: Vault, source: Path, columns: Sequence[str], purpose: str, output: Path | IO[bytes]
) -> Handed:
    """Open columns of sealed files and write them, once that is allowed and on the audit trail.

    All files are verified before the first is opened, and each is opened as a whole before its rows go out.

    Args:
        vault: Of the system.
        source: A folder of sealed files with its manifest, or one file in such a folder.
        columns: Which; the file says what there is. Each needs its access group.
        purpose: What for.
        output: A file to make, ``.csv`` or ``.parquet``; or a stream, which gets CSV.

    Raises:
        AccessDeniedError: The policy does not allow it; nothing was written.
        ConfigError: A column is not there, or no file.
        SealError: A file was changed, cut, moved, dropped or put back from before.
        StateError, StorageError: The file is there already, or cannot be written.
    """
    paths = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not paths or not paths[0].is_file():
        raise ConfigError(f"{source} holds no sealed files", hint="name the folder that was published")
    if isinstance(output, Path):
        require_new(output)
        if output.resolve().parent == paths[0].resolve().parent:
            raise ConfigError(
                f"{output} would lie among the sealed files",
                hint="choose a folder that is read by nobody else",
            )
    if not columns:
        there = ", ".join(f"{name} ({group})" for name, group in vault.columns(paths).items())
        raise ConfigError("no columns are named", hint=f"there are: {there}")
    wanted = tuple(dict.fromkeys(columns))
    erased = 0

    def tables() -> Iterator[Any]:
        nonlocal erased
        for opened in vault.open(paths, wanted, purpose):
            erased += opened.dropped
            yield opened.table

    if isinstance(output, Path):
        rows = write_plaintext(tables(), wanted, output)
    else:
        rows = write_csv(tables(), wanted, output)
    return Handed(rows=rows, erased=erased, columns=wanted, purpose=purpose)
