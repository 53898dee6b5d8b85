"""Finds the sealed files of a place, and whose rows are in them; needs no key, and opens nothing.

Files are known by what they are, never by their name: in a DVC cache or remote, a name is a digest.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.erasure import HeldFile, PlaceScan
from lifecycle.core.errors import NotSealedError, SealError, StorageError
from lifecycle.core.ports import Objects
from lifecycle.records.ranges import Ranges
from lifecycle.records.segment import SealedSegment

_MAGIC = b"PAR1"
_NEVER = frozenset({".git", "__pycache__", "node_modules", "site-packages"})
"""Folders without records."""

_SMALL = 1 << 18
"""An object of no more bytes is read at once: one request costs more than they do."""


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
    looks = [_look(str(path.relative_to(place.path)), path, lookup) for path in _parquet_files(place)]
    return _told(place.name, str(place.path), looks)


def scan_objects(
    place: str, where: str, objects: Objects, ref: bytes, erased: Collection[bytes]
) -> PlaceScan:
    """The same for a store that is reached over a network; of large objects no more is read than is needed.

    Args:
        place: What it is.
        where: Its address, fit to be shown.
        objects: All that is there.
        ref: The subject.
        erased: Everybody who was erased, the subject too.

    Raises:
        Exception: Whatever the store raises: then nothing is proved of it.
    """
    lookup = _Lookup(ref, erased)
    with ThreadPoolExecutor(objects.at_once, "scan") as pool:
        looks = list(
            pool.map(lambda item: _look_at(item[0], item[1], objects, lookup), objects.sizes.items())
        )
    return _told(place, where, looks)


@dataclass(frozen=True)
class _Look:
    """What one file is: sealed with rows of somebody, sealed without, or Parquet that is not whole."""

    name: str
    whole: bool = True
    held: HeldFile | None = None


def _look(name: str, path: Path, lookup: _Lookup, stream: BinaryIO | None = None) -> _Look | None:
    """None: it is no sealed file."""
    try:
        segment = SealedSegment(path, stream)
        lost, before = lookup.count(segment)
    except NotSealedError:
        return None  # ordinary Parquet
    except SealError:
        # A draft that was renamed meanwhile is no file at all.
        return _Look(name, whole=False) if stream or path.exists() else None
    if not lost:
        return _Look(name)
    others = segment.rows - lost - before
    dataset = segment.sealed.plan.dataset
    return _Look(
        name, held=HeldFile(file=name, dataset=dataset, lost=lost, others=others, erased_before=before)
    )


def _look_at(name: str, size: int, objects: Objects, lookup: _Lookup) -> _Look | None:
    head = objects.read(name, 0, size if size <= _SMALL else len(_MAGIC)) if size else b""
    if not head.startswith(_MAGIC):
        return None
    if len(head) == size:
        return _look(name, Path(name), lookup, io.BytesIO(head))
    stream = Ranges(lambda start, end: objects.read(name, start, end), size)
    found = _look(name, Path(name), lookup, io.BufferedReader(stream, _SMALL))
    if stream.error:  # pyarrow tells it as a file that is not whole
        raise stream.error
    return found


def _told(place: str, where: str, looks: Iterable[_Look | None]) -> PlaceScan:
    found = [look for look in looks if look is not None]
    return PlaceScan(
        place=place,
        where=where,
        sealed=sum(look.whole for look in found),
        unreadable=tuple(look.name for look in found if not look.whole),
        held=tuple(look.held for look in found if look.held),
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
