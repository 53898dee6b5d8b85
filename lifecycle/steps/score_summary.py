"""How scoring ended, for people: the artifact in the Prefect UI and the last words on the command line."""

from __future__ import annotations

from lifecycle.core.scoring import BatchGate, ScoreResult

_SIGNS = {"kept": "✓", "broken": "✗", "inconclusive": "?"}


def as_text(result: ScoreResult) -> str:
    """A few plain lines.

    Example:
        >>> from datetime import UTC, datetime
        >>> from lifecycle.core.scoring import ScoreCounts
        >>> print(as_text(ScoreResult(system="demo", status="published", reason="3 rows scored",
        ...                           as_of=datetime(2026, 1, 1, tzinfo=UTC), job="j", release="r" * 64,
        ...                           version="2", folder="scores", counts=ScoreCounts(read=3, scored=3))))
        demo: published as of 2026-01-01: 3 rows scored
          scores, by version 2, release rrrrrrrrrrrr
    """
    lines = [
        f"{result.system}: {result.status} as of {result.as_of:%Y-%m-%d}: {result.reason}",
        f"  {result.folder}, by version {result.version}, release {result.release[:12]}",
        *(f"  {_SIGNS[gate.verdict]} {_line(gate)}" for gate in result.gates),
        *(f"  warning: {warning}" for warning in result.warnings),
    ]
    if result.accepted:
        lines.append(f"  published all the same: {result.accepted}")
    if result.status == "held":
        lines += [
            "  → look at the finished parts there; nothing was published",
            "  → publish them all the same: run the same command with --accept REASON",
        ]
    return "\n".join(lines)


def as_markdown(result: ScoreResult) -> str:
    """The artifact: what was scored, by what, and which checks the batch kept."""
    counts = result.counts
    parts = [
        f"## {result.system}: scores {result.status}",
        result.reason,
        f"`{result.folder}`, as of **{result.as_of:%Y-%m-%d %H:%M}** UTC, by version {result.version}, "
        f"release `{result.release[:12]}`, job `{result.job}`",
        f"**Rows** {counts.read:,} read, {counts.scored:,} scored, {counts.quarantined:,} quarantined, "
        f"{counts.unanswered:,} without an answer",
    ]
    if counts.abstained:
        parts.append(f"**Without a decision** {counts.abstained:,} rows, each with the reason why")
    if result.gates:
        rows = [
            f"| {gate.name} | {gate.measured} | {gate.bound} | {_SIGNS[gate.verdict]} {gate.verdict} "
            f"| {gate.detail} |"
            for gate in result.gates
        ]
        parts.append("\n".join(["| check | measured | asked | | |", "|---|---:|---:|---|---|", *rows]))
    parts += [f"**Warning:** {warning}" for warning in result.warnings]
    if result.accepted:
        parts.append(f"**Published all the same:** {result.accepted}")
    return "\n\n".join(parts)


def _line(gate: BatchGate) -> str:
    return f"{gate.name}: {gate.measured}, asked {gate.bound}" + (f" ({gate.detail})" if gate.detail else "")
