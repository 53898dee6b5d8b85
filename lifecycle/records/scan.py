"""Finds the sealed files of a place, and whose rows are in them; needs no key, and opens nothing.

Files are known by what they are, never by their name: in a DVC cache or remote, a name is a digest.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.erasure import HeldFile, PlaceScan
from lifecycle.core.errors import NotSealedError, SealError, StorageError
from lifecycle.records.segment import SealedSegment

_MAGIC = b"PAR1"
_NEVER = frozenset({".git", "__pycache__", "node_modules", "site-packages"})
"""Folders without records."""


@dataclass(frozen=True)
class Place:
    """A folder to look through.

    Attributes:
        name: What it is.
        path: The folder; one that is not there holds nothing.
        without: Folders below it that are places of their own.
    """

    name: str
    path: Path
    without: tuple[Path, ...] = ()


def scan(place: Place, ref: bytes, erased: Collection[bytes]) -> PlaceScan:
    """Look through all sealed files of a place for one subject.

    Args:
        place: Where.
        ref: The subject.
        erased: Everybody who was erased, the subject too.

    Raises:
        StorageError: A folder or file cannot be read, so that nothing could be proved.
    """
    lookup = _Lookup(ref, erased)
    sealed, unreadable, held = 0, [], []
    for path in _parquet_files(place):
        name = str(path.relative_to(place.path))
        try:
            segment = SealedSegment(path)
            lost, before = lookup.count(segment)
        except NotSealedError:
            continue  # ordinary Parquet
        except SealError:
            unreadable.append(name)
            continue
        sealed += 1
        if lost:
            others = segment.rows - lost - before
            dataset = segment.sealed.plan.dataset
            held.append(HeldFile(file=name, dataset=dataset, lost=lost, others=others, erased_before=before))
    return PlaceScan(
        place=place.name,
        where=str(place.path),
        sealed=sealed,
        unreadable=tuple(unreadable),
        held=tuple(held),
    )


class _Lookup:
    """Counts rows by their refs, block by block."""

    def __init__(self, ref: bytes, erased: Collection[bytes]) -> None:
        self._ref = np.frombuffer(ref, np.uint8)
        self._erased = frozenset(erased) - {ref}
        self._heads = np.unique(_heads(np.frombuffer(b"".join(self._erased), np.uint8).reshape(-1, len(ref))))

    def count(self, segment: SealedSegment) -> tuple[int, int]:
        """Rows of the subject, and of others who were erased."""
        lost = before = 0
        for chunks in segment.subjects():
            lost += int(chunks.counts[(chunks.refs == self._ref).all(axis=1)].sum())
            # Half of a ref finds the few that may be erased; the whole of it decides.
            for at in np.flatnonzero(np.isin(_heads(chunks.refs), self._heads)):
                if chunks.refs[at].tobytes() in self._erased:
                    before += int(chunks.counts[at])
        return lost, before


def _heads(refs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint64 (n,): the first half of each ref."""
    return np.ascontiguousarray(refs[:, :8]).view(np.uint64).ravel()


def _parquet_files(place: Place) -> Iterator[Path]:
    """Every Parquet file below a place, by its first bytes."""
    without = {str(path) for path in place.without}
    for folder, folders, files in os.walk(place.path, onerror=_refuse):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NEVER
            and str(Path(folder, name)) not in without
            and not Path(folder, name, "pyvenv.cfg").exists()
        )
        for name in sorted(files):
            path = Path(folder, name)
            try:
                if path.is_file():  # no sockets or pipes, which a read would wait for
                    with path.open("rb") as stream:
                        if stream.read(len(_MAGIC)) == _MAGIC:
                            yield path
            except FileNotFoundError:
                continue  # a draft that was renamed meanwhile
            except OSError as error:
                _refuse(error)


def _refuse(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return
    raise StorageError(
        f"{error.filename} cannot be read: {error.strerror}", hint="let this user read it; then run it again"
    )
