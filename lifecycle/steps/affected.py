"""Which model versions learnt from a person: from their rows to snapshots, and from those to releases.

sealed files → DVC's digests → snapshots → signed releases → versions of the ledger
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lifecycle.core.erasure import AffectedVersion, PlaceScan
from lifecycle.core.errors import LifecycleError, TransientError
from lifecycle.core.ports import Ledger, ReleaseStore
from lifecycle.core.release import MANIFEST, Manifest
from lifecycle.core.values import Deployment, Release
from lifecycle.data.dvc_objects import Folders, digest_of, folders_in, is_whole, snapshots_with
from lifecycle.records.scan import Place, scan


@dataclass(frozen=True)
class ModelLineage:
    """The way from a subject to the versions of one system that were trained on them; opens nothing.

    Attributes:
        name: Name of the system.
        stores: The places that hold DVC's objects: cache, and the remote if it is a folder.
    """

    name: str
    stores: tuple[Place, ...]
    ledger: Ledger
    store: ReleaseStore

    def of(self, ref: bytes) -> tuple[AffectedVersion, ...]:
        """The versions that were trained on a subject, in the order in which they were decided on.

        Raises:
            StorageError: A store cannot be read.
        """
        return self.versions(self.snapshots(scan(place, ref, ()) for place in self.stores))

    @property
    def folders(self) -> Folders:
        """What the stores say of the folders that DVC was given."""
        return {name: read for place in self.stores for name, read in folders_in(place.path).items()}

    def snapshots(self, scans: Iterable[PlaceScan], elsewhere: Iterable[Folders] = ()) -> tuple[str, ...]:
        """Ids of the snapshots that hold any of the files that were found.

        Args:
            scans: What was found where.
            elsewhere: What remotes that are no folders say of folders.
        """
        files = (file.file for found in scans for file in found.held)
        digests = {digest for file in files if (digest := digest_of(file)) is not None}
        return snapshots_with([self.folders, *elsewhere], digests)

    def versions(self, snapshots: Collection[str]) -> tuple[AffectedVersion, ...]:
        """The versions that were trained on these snapshots, or of which that cannot be ruled out.

        Args:
            snapshots: Ids of all that hold the subject.
        """
        live = self.ledger.live(self.name)
        releases: dict[str, Deployment] = {}
        for row in self.ledger.history(self.name):
            releases.setdefault(row.release.digest, row)
        found = (
            AffectedVersion(
                version=row.version,
                release=row.release.digest,
                snapshot=self._trained_on(row.release, snapshots),
                live=live is not None and live.release.digest == row.release.digest,
            )
            for row in releases.values()
        )
        return tuple(version for version in found if version.snapshot in {*snapshots, ""})

    def _trained_on(self, release: Release, held: Collection[str]) -> str:
        """The snapshot; empty if a release or snapshot is not here any more, so that nobody can tell.

        One that was found to hold the subject, in a remote elsewhere too, need not be here.
        """
        try:
            folder = self.store.fetch(release)
            snapshot = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).lineage.snapshot
        except TransientError:
            raise
        except LifecycleError:
            return ""
        known = snapshot in held or is_whole([place.path for place in self.stores], snapshot)
        return snapshot if known else ""
