"""Every command that the documents name exists, and every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from lifecycle.cli import main

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
TEMPLATE = REPOSITORY / "lifecycle" / "scaffold" / "template" / "README.md.tmpl"
_FENCED = re.compile(r"^```\w*.*?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(lifecycle [^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)|<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")


def commands(text: str) -> Iterator[str]:
    """Each `lifecycle ...` line of a block, and each between backticks."""
    for block in _FENCED.findall(text):
        for line in block.splitlines():
            for part in re.split(r"&&|\||;", line.removeprefix("$ ").partition(" #")[0]):
                if part.strip().startswith("lifecycle "):
                    yield part.strip()
    yield from _INLINE.findall(_FENCED.sub("", text))


def fault(command: str) -> str | None:
    """What is wrong with a command; None if its verb and options exist."""
    words = [word for word in shlex.split(command)[1:] if word not in ("...", "…", "&", ">", "2>&1")]
    group: click.Command = main
    context = click.Context(main, info_name="lifecycle")
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        known = group.get_command(context, words[0])
        if known is None:
            return f"no verb {words[0]!r}"
        group, words = known, words[1:]
    options = {
        name for option in group.get_params(context) for name in (*option.opts, *option.secondary_opts)
    }
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"no option {unknown[0]!r}" if unknown else None


@pytest.mark.parametrize("path", [*DOCUMENTS, TEMPLATE], ids=lambda path: path.name)
def test_every_command_exists(path):
    faults = [
        f"{command}: {wrong}"
        for command in commands(path.read_text(encoding="utf-8"))
        if (wrong := fault(command))
    ]
    assert not faults


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_relative_link_resolves(path):
    text = _FENCED.sub("", path.read_text(encoding="utf-8"))
    links = [target for found in _LINK.findall(text) for target in found if target]
    broken = [
        link for link in links if "://" not in link and not link.startswith("mailto:") and dead(path, link)
    ]
    assert not broken


def dead(path: Path, link: str) -> bool:
    """Whether a link's file is missing, or has no heading of that name."""
    file, _, anchor = unquote(link).partition("#")
    target = (path.parent / file).resolve() if file else path
    if not target.is_relative_to(REPOSITORY) or not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def anchors(path: Path) -> set[str]:
    """The names that headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", path.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_commands_and_the_faults_are_found():
    text = "`lifecycle update x --as-of 2026-01-01`\n```sh\nlifecycle up --detatch && lifecycle dwon\n```\n"
    assert [fault(command) for command in commands(text)] == ["no option '--detatch'", "no verb 'dwon'", None]
    page = REPOSITORY / "docs" / "your-own-system.md"
    assert len(list(commands(page.read_text(encoding="utf-8")))) > 10
    assert dead(page, "no-such-page.md")
    assert dead(page, "#no-such-heading")
