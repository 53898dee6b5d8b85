"""Where DVC keeps what it was given, and which snapshots a file belongs to; read without DVC itself."""

from __future__ import annotations

import configparser
import json
from collections.abc import Collection, Iterable
from pathlib import Path

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


def snapshots_with(stores: Iterable[Path], digests: Collection[str]) -> tuple[str, ...]:
    """Ids of the snapshots that hold any of these files, of every age.

    Args:
        stores: Caches and remotes that are folders.
        digests: DVC's digests of files.
    """
    wanted = set(digests)
    found = set()
    for store in stores:
        for path in (store / "files" / "md5").glob("??/*.dir"):
            identity = f"{path.parent.name}{path.name}"
            if identity not in found and any(
                entry["md5"] in wanted for entry in json.loads(path.read_bytes())
            ):
                found.add(identity)
    return tuple(sorted(found))


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
