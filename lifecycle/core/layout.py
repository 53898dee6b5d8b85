"""Where a system's files lie inside a project (the user's checkout, a worktree or a clean clone)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths of one system, relative to a project's root.

    Example:
        >>> Layout(Path("."), "house-prices").model.as_posix()
        'artifacts/house-prices/model'
    """

    root: Path
    system: str

    @property
    def data(self) -> Path:
        """The snapshot: monthly partitions ``YYYY-MM.parquet``; DVC's pointer lies beside it."""
        return self.root / "data" / self.system

    @property
    def pointer(self) -> Path:
        """DVC's pointer to the snapshot."""
        return self.root / "data" / f"{self.system}.dvc"

    @property
    def artifacts(self) -> Path:
        """What the stages make."""
        return self.root / "artifacts" / self.system

    @property
    def split(self) -> Path:
        """Stage ``split``: ``manifest.parquet`` (record_id, part, weight) and ``split.json``."""
        return self.artifacts / "split"

    @property
    def manifest(self) -> Path:
        """The split's manifest of record ids."""
        return self.split / "manifest.parquet"

    @property
    def model(self) -> Path:
        """Stage ``train``: the files of a release, ``engine.json`` and ``training.json``."""
        return self.artifacts / "model"

    @property
    def evaluation(self) -> Path:
        """Stage ``evaluate``: ``metrics.json`` and the tables for plots, ``*.csv``."""
        return self.artifacts / "evaluation"
