"""Making a user's own project: in a folder beside the target, moved into place when it is whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template

from lifecycle.core.errors import ConfigError, StorageError
from lifecycle.scaffold.deployments import render_deployments
from lifecycle.scaffold.environment import pinned_environment
from lifecycle.scaffold.example import example_rows

# DVC and Prefect have placeholders of their own in these.
_AS_THEY_ARE = {"dvc.yaml", "prefect.toml", "prefect.yaml"}
# Set inside a git hook: they would lead git to the repository of that hook.
_OF_ANOTHER_REPOSITORY = {
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
}
_QUIET_DVC = "[core]\n    analytics = false\n"


def init(directory: Path, name: str = "deliveries", *, echo: Callable[[str], None]) -> Path:
    """Make a project with one documented example system, git and DVC initialised and all committed.

    Args:
        directory: Where; must not exist or be empty.
        name: The system's name: lower-case words joined by dashes.
        echo: Takes a line of progress.

    Returns:
        The project's folder.

    Raises:
        ConfigError: The folder is not empty, the name will not do, or git or DVC is missing. Nothing is left.
        StorageError: The disk refuses. Nothing is left.
    """
    target = directory.resolve()
    module = _module_name(name)
    _refuse_occupied(target)
    if not shutil.which("git"):
        raise ConfigError("git is not installed", hint="install git, then run this again")
    if not find_spec("dvc"):
        raise ConfigError("DVC is not installed", hint='pip install "lifecycle[flows]"')
    try:
        _make(target, {"system": name, "module": module})
    except OSError as error:
        raise StorageError(
            f"cannot make {target}: {error.strerror or error}", hint="choose a folder you may write to"
        ) from error
    echo(f"{target} is a project with the example system {name}")
    for command in (
        f"cd {target}",
        "lifecycle doctor",
        f"lifecycle first-deployment {name} --as-of 2025-03-01",
    ):
        echo(f"  {command}")
    return target


def _make(target: Path, words: dict[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        draft.chmod(0o755)
        for path, text in _files(words).items():
            (draft / path).parent.mkdir(exist_ok=True)
            (draft / path).write_text(text, encoding="utf-8", newline="\n")
        _version(draft)
        _move(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _files(words: dict[str, str]) -> dict[str, str]:
    """Path in the project to content."""
    places = {
        "gitignore": ".gitignore",
        "dvcignore": ".dvcignore",
        "system.py": f"{words['module']}.py",
        "test_system.py": f"tests/test_{words['module']}.py",
    }
    rendered = {}
    for template in (files("lifecycle.scaffold") / "template").iterdir():
        name = template.name.removesuffix(".tmpl")
        text = template.read_text(encoding="utf-8")
        rendered[places.get(name, name)] = text if name in _AS_THEY_ARE else Template(text).substitute(words)
    rendered["prefect.yaml"] = render_deployments({words["system"]: "real-time"})
    rendered["requirements.lock"] = pinned_environment()
    rendered[f"source/{words['system']}.csv"] = example_rows()
    return rendered


def _version(project: Path) -> None:
    """Initialise git and DVC, and commit everything."""
    _run(project, "git", "init", "-q")
    _run(project, "git", "symbolic-ref", "HEAD", "refs/heads/main")
    _run(project, sys.executable, "-m", "dvc", "init", "-q")
    (project / ".dvc" / "config").write_text(_QUIET_DVC, encoding="utf-8")
    shutil.rmtree(project / ".lifecycle", ignore_errors=True)
    _run(project, "git", "add", "-A")
    _run(
        project,
        "git",
        "commit",
        "-q",
        "--no-verify",
        "--no-gpg-sign",
        "-m",
        "A project with an example system",
    )


def _run(project: Path, *command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in _OF_ANOTHER_REPOSITORY}
    environment |= {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(project / ".lifecycle" / "dvc")}
    if command[:2] == ("git", "commit") and not _has_identity(project, environment):
        environment |= {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", "lifecycle"), ("EMAIL", "lifecycle@localhost"))
        }
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise ConfigError(
            f"`{' '.join(command[:4])}` failed: {said}", hint="lifecycle doctor looks at git and DVC"
        )


def _has_identity(project: Path, environment: dict[str, str]) -> bool:
    """Whether git knows who commits."""
    asked = ["git", "var", "GIT_COMMITTER_IDENT"]
    strict = environment | {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.useConfigOnly"}
    strict["GIT_CONFIG_VALUE_0"] = "true"
    return subprocess.run(asked, cwd=project, env=strict, capture_output=True, check=False).returncode == 0


def _move(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
        return
    # An empty folder stays the same one: a shell may stand in it.
    for item in sorted(draft.iterdir()):
        item.rename(target / item.name)


def _refuse_occupied(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        what = "is not empty" if target.is_dir() else "is a file"
        raise ConfigError(f"{target} {what}", hint="name a new folder: lifecycle init DIR")


def _module_name(name: str) -> str:
    """The module of a system, as deliveries-north -> deliveries_north."""
    if not name.isascii() or not all(part.isalnum() and part.islower() for part in name.split("-")):
        raise ConfigError(
            f"name {name!r} will not do", hint="use lower-case words joined by dashes, as house-prices"
        )
    module = name.replace("-", "_")
    taken = module in sys.stdlib_module_names or find_spec(module)
    if taken or iskeyword(module) or not module.isidentifier():
        raise ConfigError(f"{module!r} cannot name a module of yours", hint="choose another name")
    return module
