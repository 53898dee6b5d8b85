"""`docs/benchmarks.md` from figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from benchmarks.figure import Figure, Measured, quantity

_HEAD = "| what | measured: median (min–max) | asked | of it | beside it, in the same run | ratio |"
_RULE = "|---|---:|---:|---:|---|---:|"


def render(figures: Sequence[Figure], machine: Sequence[str], day: date, command: str) -> str:
    """The whole page.

    Args:
        figures: In the order of the page.
        machine: What they were measured on, one fact a line.
        day: When.
        command: What made the page.
    """
    missed = [line for figure in figures for line in figure.missed]
    asked = sum(line.bound is not None for figure in figures for line in figure.lines)
    parts = [
        "# Benchmarks",
        f"Made by `{command}` on {day}; do not edit. Each number is the median of repeated measurements, "
        "with the smallest and largest in brackets; every command is run before it is timed, with bytecode "
        "as an ordinary installation has it. What stands beside a number was measured in the same run.",
        "\n".join(f"- {fact}" for fact in machine),
        f"**{asked - len(missed)} of {asked} bounds are kept.**",
        *(_section(figure) for figure in figures),
    ]
    return "\n\n".join(parts) + "\n"


def _section(figure: Figure) -> str:
    table = "\n".join([_HEAD, _RULE, *(_line(line) for line in figure.lines)])
    notes = "\n".join(f"- {note}" for note in figure.notes)
    title = f"## {figure.title}"
    alone = f"Alone: `python -m benchmarks {figure.name}`."
    return "\n\n".join(part for part in (title, f"{figure.how} {alone}", table, notes) if part)


def _line(line: Measured) -> str:
    asked = share = beside = ratio = ""
    if bound := line.bound:
        asked = f"{bound.kind} {quantity(bound.value, line.samples.unit)}"
        mark = "✅" if bound.kept(line.samples) else "❌"
        share = f"{mark} {line.samples.median / bound.value:.0%}" if bound.value else mark
    if line.beside:
        beside = f"{line.beside.name}: {line.beside.samples}"
        ratio = f"{line.samples.median / line.beside.samples.median:.2f}×"
    return f"| {line.what} | {line.samples} | {asked} | {share} | {beside} | {ratio} |"
