"""Monthly Parquet partitions: the same rows always make the same bytes, and a crash leaves no half file."""

from __future__ import annotations

import errno
import filecmp
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from lifecycle.core.errors import StorageError

_MONTH = re.compile(r"\d{4}-\d{2}\.parquet")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_partition(frame: pl.DataFrame, path: Path) -> None:
    """Write one month, in the given order of rows, with settings that never change."""
    # Through memory: only Python's own write says reliably why a disk refuses.
    content = io.BytesIO()
    frame.rechunk().write_parquet(
        content,
        compression="zstd",
        compression_level=1,
        statistics=True,
        row_group_size=131_072,
        data_page_size=1 << 20,
    )
    path.write_bytes(content.getbuffer())


def list_partitions(folder: Path) -> list[Path]:
    """The partitions of a snapshot, oldest first; none if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _MONTH.fullmatch(path.name))


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """An empty folder beside ``out``, on the same disk; what an interrupted ingest left is cleared first."""
    folder = out.with_name(f".{out.name}.ingest")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, out: Path) -> None:
    """Move finished partitions into place.

    A month whose bytes did not change keeps its file, so that DVC need not hash it again; a month that is
    gone is deleted. Interrupted between two renames, the next ingest ends with the same folder.

    Args:
        staged: Folder of finished partitions, on the disk of ``out``.
        out: The snapshot's folder; made if need be.
    """
    out.mkdir(parents=True, exist_ok=True)
    fresh = {path.name: path for path in list_partitions(staged)}
    for name, path in fresh.items():
        target = out / name
        if not (target.is_file() and filecmp.cmp(path, target, shallow=False)):
            path.replace(target)
    for path in list_partitions(out):
        if path.name not in fresh:
            path.unlink()


@contextmanager
def storage_errors(what: str, folder: Path) -> Iterator[None]:
    """Turn a disk that refuses to store into a ``StorageError`` that says what to do.

    Args:
        what: What was being written: ``the snapshot``.
        folder: Where.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            message, hint = "the disk is full", f"free space on the disk of {folder}, then run it again"
        elif error.errno in _REFUSED:
            message, hint = "writing is not permitted", f"make {folder} writable, then run it again"
        else:
            message, hint = error.strerror or str(error), f"see that {folder} can be written to"
        raise StorageError(f"{what} could not be stored in {folder}: {message}", hint=hint) from error
