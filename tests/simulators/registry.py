"""A model registry in memory, for tests of whatever stands around one.

It numbers versions and keeps aliases as ``MlflowRegistry`` does: both pass the contract in
``tests/registry/test_registry_contract.py``. It differs in three ways: nothing survives the process, a
release is not copied (its URI stays what it was), and ``outage`` makes every call fail as an unreachable
server would.

    registry = RegistrySimulator()
    version = registry.register(run, release, evaluation)
    registry.aliases["house-prices"]["candidate"] == version.version
"""

from __future__ import annotations

from collections.abc import Sequence

from lifecycle.core.errors import LifecycleError, StateError
from lifecycle.core.values import Evaluation, ModelVersion, Release, TrainingRun


class RegistrySimulator:
    """``core.ports.Registry`` on dicts.

    Attributes:
        versions: Registered versions per name, oldest first.
        aliases: Alias -> version, per name.
        evaluations: The latest evaluation of each release digest, as a reviewer would see it.
        outage: Raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.versions: dict[str, list[ModelVersion]] = {}
        self.aliases: dict[str, dict[str, str]] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.outage: LifecycleError | None = None

    def register(self, run: TrainingRun, release: Release, evaluation: Evaluation) -> ModelVersion:
        self._answer()
        self.evaluations[release.digest] = evaluation
        versions = self.versions.setdefault(run.system, [])
        found = next((it for it in versions if it.release.digest == release.digest), None)
        if found is None:
            number = str(len(versions) + 1)
            found = ModelVersion(name=run.system, version=number, run=f"run-{number}", release=release)
            versions.append(found)
        self.aliases.setdefault(run.system, {})["candidate"] = found.version
        return found

    def mirror(self, name: str, champion: str | None, previous: str | None) -> Sequence[str]:
        self._answer()
        aliases = self.aliases.setdefault(name, {})
        known = {version.version for version in self.versions.get(name, [])}
        wrong = []
        for alias, version in (("champion", champion), ("previous", previous)):
            if aliases.get(alias) == version:
                continue
            if version is None:
                del aliases[alias]
            elif version in known:
                aliases[alias] = version
            else:
                raise StateError(f"there is no version {version} of {name}", hint="look at its versions")
            wrong.append(alias)
        return tuple(wrong)

    def _answer(self) -> None:
        if self.outage is not None:
            raise self.outage
