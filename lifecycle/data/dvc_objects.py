"""Where DVC keeps what it was given, and which snapshots a file belongs to; read without DVC itself."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path

from lifecycle.core.ports import Objects

Folders = Mapping[str, Callable[[], bytes]]
"""What DVC keeps of the folders that it was given: by their id, the list of files, when it is asked for."""

_MD5_LENGTH = 32


def cache_of(project: Path) -> Path:
    """The folder of DVC's cache, as the project's configuration says."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    home = project / ".dvc"
    config.read([home / "config", home / "config.local"], encoding="utf-8")
    return home / config.get("cache", "dir", fallback="cache").strip("'\"")


def digest_of(name: str) -> str | None:
    """DVC's digest of a file by its path in a cache or remote; None if it is no such path.

    Example:
        >>> digest_of("files/md5/8a/2f" + "0" * 28)
        '8a2f0000000000000000000000000000'
        >>> digest_of("data/2026-01.parquet")
    """
    digest = "".join(Path(name).parts[-2:])
    return digest if len(digest) == _MD5_LENGTH and set(digest) <= set("0123456789abcdef") else None


def folders_in(store: Path) -> Folders:
    """What a cache or remote that is a folder says of the folders that DVC was given, by their id."""
    return {
        f"{path.parent.name}{path.name}": path.read_bytes
        for path in (store / "files" / "md5").glob("??/*.dir")
    }


def folders_among(objects: Objects, known: Collection[str]) -> Folders:
    """The same of a remote elsewhere, without those that are known."""
    found = {
        "".join(Path(name).parts[-2:]): partial(objects.read, name, 0, size)
        for name, size in objects.sizes.items()
        if name.startswith("files/md5/") and name.endswith(".dir")
    }
    return {identity: read for identity, read in found.items() if identity not in known}


def snapshots_with(stores: Iterable[Folders], digests: Collection[str]) -> tuple[str, ...]:
    """Ids of the snapshots that hold any of these files, of every age.

    Args:
        stores: What caches and remotes say of folders, by id; each id is read once, where it is met first.
        digests: DVC's digests of files.
    """
    wanted = set(digests)
    listed: dict[str, Callable[[], bytes]] = {}
    for store in stores:
        listed = {**store, **listed}
    return tuple(
        sorted(
            identity
            for identity, read in listed.items()
            if any(entry["md5"] in wanted for entry in json.loads(read()))
        )
    )


def is_whole(stores: Iterable[Path], snapshot: str) -> bool:
    """Whether a snapshot lies in these stores with all its files, so that ``snapshots_with`` has seen it.

    Args:
        stores: Caches and remotes that are folders.
        snapshot: Its id.
    """
    folders = [store / "files" / "md5" for store in stores]

    def find(digest: str) -> Path | None:
        paths = (folder / digest[:2] / digest[2:] for folder in folders)
        return next((path for path in paths if path.is_file()), None)

    listing = find(snapshot)
    return listing is not None and all(find(entry["md5"]) for entry in json.loads(listing.read_bytes()))
