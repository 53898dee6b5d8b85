"""The manifest of a sealed dataset: which segments it has, in which order, and nothing else.

    segments.json        the segments with their digests, and the digest of the manifest before
    segments.json.sig    Ed25519 signature of the installation that sealed it
    *.parquet            the segments

Envelopes catch what changed inside a segment; the manifest catches segments that were dropped, repeated,
reordered, or put back from an earlier version. It is signed, not keyed: whoever restores, mirrors or audits
a dataset verifies it without being able to read a row, and it still verifies when every key is destroyed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError, ManifestError
from lifecycle.core.ports import Signer
from lifecycle.core.values import Value

PURPOSE = b"lifecycle sealed segments v1\0"
"""What the signer of manifests signs for: a release's signature is never one of a dataset."""

NAME = "segments.json"
SIGNATURE = f"{NAME}.sig"

_RESTORE = "check the dataset out again from the remote; never skip the check"


class SegmentEntry(Value):
    """What the manifest says of one segment.

    Attributes:
        name: Of its file, within the dataset's folder.
        dataset: It belongs to.
        segment: Its identity.
        rows: That were sealed.
        size: Of the file, bytes.
        sha256: Of the file.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.parquet$")
    dataset: str
    segment: UUID
    rows: int = Field(ge=0)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class SegmentManifest(Value):
    """All segments of one version of a dataset, in order.

    Attributes:
        format: Of this file.
        dataset: Its name.
        sequence: Number of the version, from 1; each is one more than the version before.
        previous: SHA-256 of the manifest before; None for the first.
        segments: In the order of their rows.
    """

    format: Literal[1] = 1
    dataset: str
    sequence: int = Field(ge=1)
    previous: str | None = None
    segments: tuple[SegmentEntry, ...]

    def content(self) -> bytes:
        """The one accepted encoding."""
        return self.model_dump_json().encode() + b"\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the content; what a later version and a snapshot's lineage name it by."""
        return hashlib.sha256(self.content()).hexdigest()

    def successor(self, segments: Sequence[SegmentEntry]) -> SegmentManifest:
        """The next version of the same dataset."""
        return manifest_of(self.dataset, segments, before=self)


def entry_of(path: Path, *, dataset: str, segment: UUID, rows: int) -> SegmentEntry:
    """What a manifest will say of a file that was just sealed."""
    size, sha256 = _weigh(path)
    return SegmentEntry(name=path.name, dataset=dataset, segment=segment, rows=rows, size=size, sha256=sha256)


def manifest_of(
    dataset: str, segments: Sequence[SegmentEntry], before: SegmentManifest | None = None
) -> SegmentManifest:
    """The manifest of these segments.

    Raises:
        ManifestError: A segment is of another dataset, or there twice.
    """
    sequence, previous = (before.sequence + 1, before.digest) if before else (1, None)
    manifest = SegmentManifest(
        dataset=dataset, sequence=sequence, previous=previous, segments=tuple(segments)
    )
    _check(manifest)
    return manifest


def write_manifest(folder: Path, manifest: SegmentManifest, signer: Signer) -> None:
    """Sign a manifest and put it beside its segments; a crash midway leaves one that does not verify."""
    content = manifest.content()
    for name, data in ((SIGNATURE, signer.sign(content)), (NAME, content)):
        draft = folder / f".{name}"
        draft.write_bytes(data)
        draft.replace(folder / name)


def read_manifest(
    folder: Path,
    signer: Signer,
    *,
    dataset: str,
    at_least: int = 1,
    after: SegmentManifest | None = None,
    digest: str | None = None,
) -> SegmentManifest:
    """The manifest of a folder, verified.

    Args:
        folder: Of the dataset.
        signer: Made for ``PURPOSE``.
        dataset: That it must be of.
        at_least: The newest version that the caller knows of; an older one is a replay.
        after: The version before, if the caller holds it.
        digest: Of the very version that is wanted, where lineage names one.

    Raises:
        ManifestError: It is missing, malformed, of another dataset, or not of the version asked for.
        IntegrityError: Its signature does not verify.
    """
    try:
        content, signature = (folder / NAME).read_bytes(), (folder / SIGNATURE).read_bytes()
    except OSError as error:
        raise ManifestError(f"{folder} has no readable manifest: {error.strerror}", hint=_RESTORE) from None
    signer.verify(content, signature)
    try:
        manifest = SegmentManifest.model_validate_json(content)
    except ValidationError:
        manifest = None
    if manifest is None or manifest.content() != content:
        raise ManifestError(f"the manifest in {folder} is malformed", hint=_RESTORE)
    _check(manifest)
    if manifest.dataset != dataset:
        raise ManifestError(
            f"the manifest in {folder} is of dataset {manifest.dataset!r}, not {dataset!r}", hint=_RESTORE
        )
    least = max(at_least, after.sequence + 1 if after else 1)
    if manifest.sequence < least:
        raise ManifestError(
            f"the manifest in {folder} is of version {manifest.sequence}; known already: {least}",
            hint=f"it is a replay of an older version: {_RESTORE}",
        )
    follows = after is None or manifest.sequence > least or manifest.previous == after.digest
    if not follows or digest not in (None, manifest.digest):
        raise ManifestError(f"the manifest in {folder} is not the version that is wanted", hint=_RESTORE)
    return manifest


def verify_segments(folder: Path, manifest: SegmentManifest, wanted: Collection[Path]) -> None:
    """Return when the folder holds the files of a manifest and no others, and those wanted are unchanged.

    Args:
        folder: Of the dataset.
        manifest: As ``read_manifest`` gave it.
        wanted: The files that are going to be read; of the others, content is nobody's concern now.

    Raises:
        ManifestError: A file is missing, changed, or named by nobody.
    """
    named = {entry.name: entry for entry in manifest.segments}
    there = {path.name for path in folder.glob("*.parquet")}
    if strange := sorted((there | {path.name for path in wanted}) - set(named)):
        raise ManifestError(
            f"{folder} holds {', '.join(strange)}, which its manifest does not name",
            hint=_RESTORE,
        )
    if missing := sorted(set(named) - there):
        raise ManifestError(f"{folder} lacks {', '.join(missing)}, which its manifest names", hint=_RESTORE)
    for path in wanted:
        entry = named[path.name]
        if _weigh(path) != (entry.size, entry.sha256):
            raise ManifestError(
                f"segment {entry.name} of {manifest.dataset!r} is not the one that was signed", hint=_RESTORE
            )


def _check(manifest: SegmentManifest) -> None:
    names = [entry.name for entry in manifest.segments]
    ids = [entry.segment for entry in manifest.segments]
    if len(set(names)) != len(names) or len(set(ids)) != len(ids):
        raise ManifestError(f"the manifest of {manifest.dataset!r} names a segment twice", hint=_RESTORE)
    if strange := [entry.name for entry in manifest.segments if entry.dataset != manifest.dataset]:
        raise ManifestError(
            f"the manifest of {manifest.dataset!r} names {', '.join(strange)} of another dataset",
            hint=_RESTORE,
        )


def _weigh(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return stream.tell(), digest
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}", hint=_RESTORE) from None
