"""`docs/your-own-system.md`, executed: what a reader types is run, and what the page shows was printed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lifecycle.core import params as sections
from lifecycle.core.errors import ConfigError, DeclarationError, SourceError
from lifecycle.core.record import Record, schema_of
from lifecycle.core.requirements import Requirements
from lifecycle.core.roles import Feature, RecordId
from lifecycle.core.settings import Settings
from lifecycle.core.system import load_system
from lifecycle.data.sources import open_sources
from lifecycle.records.access import Policy, refusal
from lifecycle.records.entries import Read
from lifecycle.rollout.ledger import SqlLedger

PAGE = Path(__file__).parents[2] / "docs" / "your-own-system.md"
NAME = "late-parcels"
TIMEOUT_S = 540
ERRORS = "## When something is wrong"
_BLOCK = re.compile(r"(?:^\*\*`(\S+)`\*\*\n\n)?^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_FENCE = "=====block {}====="


@dataclass(frozen=True)
class Block:
    """One fenced block of the page, and the file name it stands under, if any."""

    file: str
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(text)]


def story() -> list[Block]:
    """What is done, one thing after the other."""
    return blocks(PAGE.read_text(encoding="utf-8").split(ERRORS)[0])


def as_script(page: list[Block], port: int) -> str:
    """The page as one bash script: files are written and commands run in the order of reading."""
    lines = ["set -euo pipefail", "exec 2>&1"]
    for number, block in enumerate(page):
        lines.append(f"echo '{_FENCE.format(number)}'")
        if block.file:
            lines.append(f"mkdir -p \"$(dirname '{block.file}')\"")
            lines.append(f"cat > '{block.file}' <<'END-OF-FILE'\n{block.text}END-OF-FILE")
        elif block.language == "sh":
            lines.append(block.text.replace("8000", str(port)))
    return "\n".join(lines) + "\n"


def outputs(printed: str, count: int) -> list[str]:
    """What each block printed."""
    parts = re.split(r"^=====block \d+=====\n", printed, flags=re.MULTILINE)[1:]
    assert len(parts) == count, f"the page stopped in block {len(parts)} of {count}:\n{printed[-3000:]}"
    return parts


def shown(expected: str, printed: str) -> str | None:
    """The first line of a `text` block that was not printed as shown; None if all were, wherever."""
    for line in expected.splitlines():
        pattern = r"[^\n]*?".join(re.escape(part.strip()) + r"\s*" for part in line.split("…"))
        if not re.search(pattern, printed):
            return line
    return None


@dataclass(frozen=True)
class Walk:
    """The page, walked through once."""

    project: Path
    printed: list[tuple[Block, str]]

    def after(self, command: str) -> str:
        """What the first block with this command printed."""
        return next(text for block, text in self.printed if block.language == "sh" and command in block.text)


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Walk:
    """Everything on the page has been done, in a folder outside the repository."""
    folder = tmp_path_factory.mktemp("walk")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = story()
    script = folder / "page.sh"
    script.write_text(as_script(page, port), encoding="utf-8")
    with (folder / "printed").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            ["bash", str(script)], cwd=folder, env=a_shell(folder), stdout=log, start_new_session=True
        )
        try:
            code = process.wait(TIMEOUT_S)
        finally:
            end_group(process)
    printed = (folder / "printed").read_text(encoding="utf-8")
    assert code == 0, f"the page failed:\n{printed[-3000:]}"
    return Walk(folder / NAME, list(zip(page, outputs(printed, len(page)), strict=True)))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Nothing that the page started outlives it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # the shell and all it started have ended by themselves
    process.wait()


def a_shell(folder: Path) -> dict[str, str]:
    """The environment of a reader: this Python first, nothing set for the project, a git identity."""
    own = ("LIFECYCLE_", "PREFECT_", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    path = [str(Path(sys.executable).parent), kept["PATH"]]
    if not shutil.which("curl"):
        path.insert(1, str(a_curl(folder / "bin")))
    who = {f"GIT_{role}_NAME": "reader" for role in ("AUTHOR", "COMMITTER")}
    who |= {f"GIT_{role}_EMAIL": "reader@localhost" for role in ("AUTHOR", "COMMITTER")}
    return kept | who | {"PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


def a_curl(folder: Path) -> Path:
    """As much of curl as the page needs, for a machine that has none."""
    folder.mkdir()
    program = folder / "curl"
    program.write_text(
        f"""#!{sys.executable}
import sys
import time
import httpx
words = sys.argv[1:]
url = next(word for word in words if word.startswith("http"))
body = words[words.index("-d") + 1] if "-d" in words else None
tries = 1 + 10 * (int(words[words.index("--retry") + 1]) if "--retry" in words else 0)
for left in reversed(range(tries)):
    try:
        headers = {{"content-type": "application/json"}} if body else {{}}
        answer = httpx.request("POST" if body else "GET", url, content=body, headers=headers)
    except httpx.ConnectError:
        if not left:
            sys.exit(7)
    else:
        if answer.status_code != 503 or not left:
            print(answer.text, end="")
            break
    time.sleep(0.1)  # as long as --retry-delay 1 in all, but noticed sooner
""",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return folder


def test_the_system_is_deployed_updated_and_rolled_back(walk):
    ledger = SqlLedger(Settings(project=walk.project).ledger)
    history = ledger.history(NAME)
    assert [row.decision for row in history] == ["first-deployment", "promote", "rollback"]
    assert [row.version for row in history] == ["1", "2", "1"]
    assert history[-1].evidence["reason"] == "complaints since noon"
    live = ledger.live(NAME)
    assert live is not None
    assert live.version == "1"


def test_the_endpoint_answers_probabilities_and_follows_every_switch(walk):
    answers = re.findall(
        r'"prediction":([\d.]+),"decision":(true|false).*?"version":"(\d)"',
        "".join(text for _block, text in walk.printed),
    )
    assert [version for _, _, version in answers] == ["1", "1"]
    assert answers[0] == answers[1], "after the rollback the first version answers as it did"
    assert 0 < float(answers[0][0]) < 1
    assert '"version":"2"' in walk.after("lifecycle update")


def test_a_version_is_retrained_to_the_same_answers_and_the_same_file(walk):
    proof = walk.after("lifecycle reproduce")
    assert re.search(r"[1-9]\d+ answers are bitwise equal; the files of the models are identical", proof)


def test_what_the_page_shows_is_what_was_printed(walk):
    said = ""
    for block, printed in walk.printed:
        if block.language == "sh":
            said = printed
        elif block.language == "text":
            missing = shown(block.text, said)
            assert missing is None, f"the page shows {missing!r}; printed was:\n{said}"


def test_dvc_experiments_differ_from_the_model_they_started_from(walk):
    tables = re.findall(r"^artifacts/\S+metrics\.json.*$", walk.after("dvc exp run"), flags=re.MULTILINE)
    before, after = (re.sub(r"\s+", " ", row) for row in tables[:2])
    assert before != after


def test_the_project_is_left_as_its_owner_committed_it(walk):
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=walk.project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert changed.stdout == ""
    deployments = yaml.safe_load((walk.project / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert [row["name"] for row in deployments] == [NAME] * 7
    assert {row["parameters"]["system"] for row in deployments} == {NAME}


class Unmarked(Record):
    """A record that forgot two of its roles."""

    parcel_id: Annotated[str, RecordId()]
    distance: Annotated[float, Feature(unit="km")]


def test_the_errors_of_the_page_are_real(walk, tmp_path):
    misspelt, unmarked, renamed, denied = (
        block.text.strip() for block in blocks(PAGE.read_text(encoding="utf-8").split(ERRORS)[1])
    )
    own = (walk.project / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(own.replace("test_days", "tets_days"), encoding="utf-8")
    with pytest.raises(ConfigError) as config:
        sections.load_params(tmp_path)
    assert misspelt == config.value.message.removeprefix(f"{tmp_path}/")

    with pytest.raises(DeclarationError) as declaration:
        schema_of(Unmarked)
    assert unmarked == declaration.value.message.replace("Unmarked", "Parcel")

    schema = load_system("late_parcels:SYSTEM", walk.project).schema
    rows = (walk.project / "source" / "parcels.csv").read_text(encoding="utf-8")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "parcels.csv").write_text(rows.replace(",km,", ",kms,", 1), encoding="utf-8")
    with pytest.raises(SourceError) as source:
        open_sources(schema, sections.load_params(walk.project).system(NAME).sources, tmp_path)
    assert renamed == source.value.message

    asked = Read(actor="ann", purpose="training", dataset=NAME, groups=("clinical",))
    policy = Policy.model_validate({"format": 1, "actors": {}})
    assert denied == f"error: {refusal(policy, asked, Path('…/access.yaml'))}"


SECTIONS: dict[str, type[BaseModel]] = {
    "`systems.NAME`": sections.SystemParams,
    "`sources`": sections.SourceParams,
    "`quarantine`": sections.QuarantineParams,
    "`split`": sections.SplitParams,
    "`evaluation`": sections.EvaluationParams,
    "`gates`": sections.GateParams,
    "`requirements`": Requirements,
    "`serving`": sections.ServingParams,
}


@pytest.mark.parametrize(("heading", "model"), SECTIONS.items(), ids=[name.strip("`") for name in SECTIONS])
def test_every_key_is_described_with_its_default(heading, model):
    section = PAGE.read_text(encoding="utf-8").split(f"### {heading}\n")[1].split("\n#")[0]
    described = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", section, flags=re.MULTILINE)
    assert dict(described) == {name: default_of(field) for name, field in model.model_fields.items()}
    assert len(described) == len(model.model_fields)


def default_of(field: Any) -> str:
    """A key's default in the words of the page."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "below"
    if value == "":
        return "empty"
    return f"`{list(value) if isinstance(value, tuple) else value}`"
