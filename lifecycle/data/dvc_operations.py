"""What DVC is asked to do, and what its errors mean.

Loaded only by the process behind ``lifecycle.data.dvc``. What DVC imports at first use is imported here at
once: the process starts while the flow is still reading its sources.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from dvc.config import Config, merge
from dvc.config import ConfigError as DvcConfigError
from dvc.dependency.base import DependencyDoesNotExistError
from dvc.dependency.param import MissingParamsError, MissingParamsFile
from dvc.dvcfile import FileIsGitIgnored
from dvc.exceptions import (
    CheckoutError,
    DownloadError,
    NotDvcRepoError,
    ReproductionError,
    UploadError,
)
from dvc.fs import AuthError, RemoteMissingDepsError, get_cloud_fs
from dvc.lock import LockError
from dvc.parsing import ResolveError
from dvc.repo import Repo
from dvc.stage.exceptions import StageCmdFailedError, StageNotFound
from dvc.utils.serialize import YAMLFileCorruptedError
from dvc.utils.strictyaml import YAMLValidationError

from lifecycle.core.errors import (
    BusyError,
    ConfigError,
    LifecycleError,
    StageError,
    StateError,
    StorageError,
    UnavailableError,
)
from lifecycle.data.dvc import DvcPlace
from lifecycle.data.storage import REFUSALS, without_secrets

for _module in (
    "dvc.cachemgr",
    "dvc.data_cloud",
    "dvc.parsing.interpolate",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.stage.cache",
    "dvc.stage.loader",
    "dvc_data.hashfile.state",
    "dvc_data.index",
    "networkx",
):
    import_module(_module)

_REMOTE = "lifecycle"
_MEND = "free space there or mend its permissions, then run the same command again"


def answer(place: DvcPlace, request: dict[str, Any]) -> dict[str, Any]:
    """Do one request.

    Returns:
        ``{"result": ...}``, or ``{"error": name, "message": ..., "hint": ...}``.
    """
    operation = request.pop("do")
    try:
        with Repo(place.root, config=_config(place)) as repo:
            return {"result": _OPERATIONS[operation](repo, **request)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the flow has to hear of it
        told = _translate(error, place)
        return {"error": type(told).__name__, "message": told.message, "hint": told.hint}


def _add(repo: Repo, target: str) -> str:
    (stage,) = repo.add(target)
    return str(stage.outs[0].hash_info.value)


def _push(repo: Repo, targets: list[str]) -> int:
    return int(repo.push(targets))


def _pull(repo: Repo, targets: list[str], force: bool) -> None:
    repo.pull(targets, force=force)


def _restore(repo: Repo, targets: list[str]) -> None:
    try:
        repo.pull(targets, force=True, allow_missing=True)
    except (DownloadError, CheckoutError, OSError):
        # The remote does not have them any more; what the cache has is enough.
        repo.checkout(targets, force=True, allow_missing=True)


def _reproduce(repo: Repo, stage: str, force: bool) -> bool | dict[str, str]:
    try:
        return bool(repo.reproduce([stage], single_item=True, force=force))
    except ReproductionError as error:
        cause = error.__cause__
        if not isinstance(cause, StageCmdFailedError):
            raise
        _, _, status = str(cause).rpartition("exited with ")
        return {"status": f"signal {status[1:]}" if status.startswith("-") else status}


def _remote(repo: Repo) -> dict[str, Any]:
    """How DVC reaches the remote: its settings with the user's, and those of the machine."""
    _, config, path = get_cloud_fs(repo.config, name=_REMOTE)
    return {"url": repo.config["remote"][_REMOTE]["url"], "config": config, "path": path}


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "push": _push,
    "pull": _pull,
    "restore": _restore,
    "reproduce": _reproduce,
    "remote": _remote,
}


def _config(place: DvcPlace) -> dict[str, Any]:
    """The user's cache and local settings (credentials, say), and our remote, above the committed ones."""
    users = Path(place.project, ".dvc")
    config: dict[str, Any] = {}
    cache = users / "cache"
    if users.is_dir():
        theirs = Config(str(users), validate=False)
        merge(config, theirs.load_one("local"))
        cache = Path(theirs["cache"].get("dir") or cache)
    ours: dict[str, Any] = {
        "core": {"analytics": False, "autostage": False, "remote": _REMOTE},
        "remote": {_REMOTE: {"url": place.remote}},
        "cache": {"dir": str(cache)},
    }
    if not place.own:
        # Nothing of git is DVC's business in a worktree. Its files are written in place, so they must be
        # copies of what is in the cache and never links to it.
        ours["core"]["no_scm"] = True
        ours["cache"]["type"] = "reflink,copy"
    merge(config, ours)
    return config


def _translate(error: Exception, place: DvcPlace) -> LifecycleError:
    """The project's own error for what DVC raised; the innermost cause decides."""
    chain = [error]
    while (inner := chain[-1].__cause__) is not None and isinstance(inner, Exception):
        chain.append(inner)
    told = next((told for e in reversed(chain) if (told := _meaning(e, place))), None)
    what = without_secrets(" ".join(str(chain[-1]).split()))
    return told or StageError(
        f"DVC failed: {type(chain[-1]).__name__}: {what}", hint="the log below .lifecycle/logs says more"
    )


def _meaning(error: Exception, place: DvcPlace) -> LifecycleError | None:
    said = without_secrets(" ".join(str(error).split()))
    told = _fault_of_storage(error, said, without_secrets(place.remote)) or _fault_of_config(error, said)
    if told is None and isinstance(error, LockError):
        told = BusyError(f"another DVC command is working in {place.root}", hint="wait until it ends")
    if told is None and said.startswith("Can't remove the following unsaved files"):
        told = StateError(said, hint="save these files elsewhere or remove them, then try again")
    return told


def _fault_of_storage(error: Exception, said: str, remote: str) -> LifecycleError | None:
    match error:
        case UploadError() | DownloadError():
            verb = "store in" if isinstance(error, UploadError) else "fetch from"
            return StorageError(
                f"cannot {verb} the DVC remote {remote}: {said}",
                hint="make it reachable and writable, with free space, then run the same command again",
            )
        case CheckoutError():
            return StorageError(
                f"neither the cache nor the DVC remote {remote} has all the data: {said}",
                hint="set LIFECYCLE_DVC_REMOTE to the remote that it was pushed to, then try again",
            )
        case ConnectionError() | TimeoutError():
            return UnavailableError(
                f"the DVC remote {remote} does not answer: {said}", hint="look at the network, then try again"
            )
        case sqlite3.OperationalError():
            home = os.environ.get("DVC_SITE_CACHE_DIR", "its state folder")
            if "locked" in said:
                return BusyError(f"DVC's database in {home} is in use", hint="try again")
            return StorageError(f"DVC cannot write its database in {home}: {said}", hint=_MEND)
        case OSError() if error.errno in REFUSALS:
            where = error.filename or remote
            return StorageError(
                f"cannot write to {where} (the DVC remote is {remote}): {error.strerror}", hint=_MEND
            )
    return None


def _fault_of_config(error: Exception, said: str) -> LifecycleError | None:
    match error:
        case DvcConfigError() | RemoteMissingDepsError() | AuthError():
            return ConfigError(
                f"DVC's configuration: {said}", hint="mend .dvc/config, or set LIFECYCLE_DVC_REMOTE"
            )
        case ImportError() if "is supported, but requires" in said:
            return ConfigError(
                f"the DVC remote: {said}", hint="install that, then run the same command again"
            )
        case ResolveError() | MissingParamsError() | MissingParamsFile():
            return ConfigError(f"dvc.yaml: {said}", hint="give params.yaml every key that dvc.yaml names")
        case StageNotFound() | YAMLFileCorruptedError() | YAMLValidationError():
            return ConfigError(
                f"dvc.yaml: {said}", hint="it needs the stages split, train and evaluate of every system"
            )
        case NotDvcRepoError() | FileIsGitIgnored() | DependencyDoesNotExistError():
            return ConfigError(f"DVC: {said}", hint="mend it, commit, and run the same command again")
    return None
