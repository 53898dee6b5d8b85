"""Proof that a version can be had again: retrained from its commit, it must answer the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lifecycle.core.errors import StateError
from lifecycle.core.layout import Layout
from lifecycle.core.ports import Engine, OpenVault
from lifecycle.core.release import MODEL, SKOPS, FileEntry, Manifest, file_entry, read_schema
from lifecycle.core.suggest import nearest
from lifecycle.core.values import Deployment, Value
from lifecycle.data.reading import read_rows


class Proof(Value):
    """What a reproduction showed.

    Attributes:
        version: The registered version.
        commit: The commit it was retrained from.
        rows: Rows of the test window that both models answered.
        largest_difference: Between the two answers.
        same_file: Whether even the files of the models are equal, byte by byte.
    """

    system: str
    version: str
    commit: str
    release: str
    rows: int
    largest_difference: float
    same_file: bool

    @property
    def same(self) -> bool:
        """Whether every answer is bitwise equal."""
        return self.largest_difference == 0

    @property
    def said(self) -> str:
        """The proof in a sentence."""
        how = "bitwise equal" if self.same else f"up to {self.largest_difference:g} apart"
        files = (
            "the files of the models are identical" if self.same_file else "the files of the models differ"
        )
        return (
            f"version {self.version} of {self.system}, retrained from commit {self.commit[:12]}: "
            f"{self.rows:,} answers are {how}; {files}"
        )


def find_version(history: Sequence[Deployment], system: str, version: str) -> Deployment:
    """The decision that brought a version.

    Raises:
        StateError: No such version was ever decided on.
    """
    known = {row.version: row for row in history}
    if version not in known:
        raise StateError(
            f"{system} has no version {version!r}{nearest(version, known)}",
            hint=f"it has: {', '.join(known) or 'none'}; see: lifecycle history {system}",
        )
    return known[version]


def find_release(history: Sequence[Deployment], system: str, digest: str) -> Deployment:
    """The decision that brought a release, named by its digest or enough of its beginning.

    Raises:
        StateError: No such release was ever decided on, or several begin so.
    """
    rows = {row.release.digest: row for row in history}
    fitting = [row for known, row in rows.items() if known.startswith(digest)]
    if len(fitting) != 1:
        raise StateError(
            f"{len(fitting) or 'no'} releases of {system} begin with {digest[:12]}",
            hint=f"see: lifecycle history {system}",
        )
    return fitting[0]


def prove(
    deployment: Deployment,
    manifest: Manifest,
    release: Path,
    project: Path,
    load_engine: Callable[[Path], Engine],
    open_vault: OpenVault,
) -> Proof:
    """Compare a release with the model retrained from its commit, on the test window.

    Args:
        deployment: The decision that brought the version.
        manifest: Of the release.
        release: Its verified folder.
        project: The clean folder it was retrained in.
        load_engine: Loads a model from a folder.
        open_vault: Opens the snapshot, if it is sealed.
    """
    layout = Layout(project, deployment.system)
    again = load_engine(layout.model)
    original = load_engine(release)
    schema = read_schema(release)
    rows = read_rows(schema, layout.data, layout.manifest, "test", open_vault(schema))
    served = MODEL if manifest.engine == "onnx" else SKOPS
    difference = np.abs(original.predict(rows.tensors) - again.predict(rows.tensors))
    return Proof(
        system=deployment.system,
        version=deployment.version,
        commit=manifest.lineage.commit,
        release=deployment.release.digest,
        rows=len(rows),
        largest_difference=float(difference.max()),
        same_file=_entry(layout.model / served) == manifest.files[served],
    )


def _entry(path: Path) -> FileEntry | None:
    """Digest and size of a file; None if the retrained model has none, because another engine serves it."""
    return file_entry(path) if path.exists() else None
