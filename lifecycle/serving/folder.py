"""One release folder as ledger and store at once: for measuring a candidate before it is registered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError, StateError
from lifecycle.core.release import MANIFEST, Manifest, file_entry
from lifecycle.core.values import Deployment, Release


class ReleaseFolder:
    """A ledger that knows one deployment and never changes, and the store that holds its release.

    The digests are checked; the signature is not, so nothing is ever deployed through this.

    Args:
        folder: A release, as ``core.release.write_release`` makes it.
        now: Stands for the time of the decision.

    Raises:
        IntegrityError: There is no manifest in the folder.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        self._folder = folder.absolute()
        try:
            content = (self._folder / MANIFEST).read_bytes()
            self._manifest = Manifest.model_validate_json(content)
        except (OSError, ValidationError) as error:
            raise IntegrityError(
                f"{folder} is not a release: {MANIFEST} is missing or of another format",
                hint="name a folder that training has finished",
            ) from error
        digest = hashlib.sha256(content).hexdigest()
        self._deployment = Deployment(
            id=1,
            system=self._manifest.system,
            decided_at=now,
            as_of=now,
            actor="probe",
            decision="hold",
            release=Release(system=self._manifest.system, digest=digest, uri=self._folder.as_uri()),
            version="candidate",
            previous=None,
            evidence={},
        )

    def fetch(self, release: Release) -> Path:
        """The folder, its files checked against the manifest."""
        for name, entry in self._manifest.files.items():
            if file_entry(self._folder / name) != entry:
                raise IntegrityError(f"release {release.digest[:12]}: {name} was changed")
        return self._folder

    def live(self, system: str) -> Deployment | None:
        """The deployment, if the system is this release's."""
        return self._deployment if system == self._deployment.system else None

    def live_all(self) -> Sequence[Deployment]:
        """The one deployment."""
        return [self._deployment]

    def history(self, system: str, until: datetime | None = None) -> Sequence[Deployment]:
        """The one deployment, if the system is this release's and it was made by then."""
        deployment = self.live(system)
        known = deployment is not None and (until is None or deployment.decided_at <= until)
        return [self._deployment] if known else []

    def record(self, deployment: Deployment, *, expected: int | None) -> Deployment:
        """Refused: nothing is deployed through a folder."""
        raise StateError(
            f"cannot record {deployment.decision} (expected {expected}): this is a folder, not a ledger"
        )
