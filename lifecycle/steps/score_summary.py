"""How scoring ended, for people: the artifact in the Prefect UI and the last words on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.scoring import BatchGate, ScoreBand, ScoreResult

_BAR = 20
"""Characters of the longest bar."""
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
    """The artifact: what was scored, by what, how the answers are spread, and which checks were kept.

    Of sealed records it tells nothing that fewer than ``SMALLEST_CELL`` of them have in common, but for the
    rows that came in and what became of them, which the sealed files show anyway.
    """
    files = f"{result.chunks:,} {'sealed ' if result.sealed else ''}file{'s' if result.chunks != 1 else ''}"
    opened = "; `access.yaml` says who may open them, and for what" if result.sealed else ""
    parts = [
        f"## {result.system}: scores {result.status}",
        result.reason,
        f"As of **{result.as_of:%Y-%m-%d %H:%M}** UTC, by version {result.version}, "
        f"release `{result.release[:12]}`, job `{result.job}`",
        f"**{'Waiting' if result.status == 'held' else 'Scores'}** in {files}, one per chunk{opened}\n\n"
        f"    {result.folder}",
        _rows(result),
        _bands(result),
    ]
    parts.append("\n".join(f"- {_SIGNS[gate.verdict]} {_line(gate)}" for gate in result.gates))
    parts += [f"**Warning:** {warning}" for warning in result.warnings]
    if result.accepted:
        parts.append(f"**Published all the same:** {result.accepted}")
    return "\n\n".join(part for part in parts if part)


def _rows(result: ScoreResult) -> str:
    counts = result.counts
    lines = [("read", f"{counts.read:,}"), ("scored", f"{counts.scored:,}")]
    lines.append(("… of these without a decision, each with the reason why", _cell(result, counts.abstained)))
    lines.append(("… of these without an answer", f"{counts.unanswered:,}"))
    lines.append(("quarantined", f"{counts.quarantined:,}"))
    if result.sealed:
        lines.append(("left out: the person was erased", f"{counts.erased:,}"))
        lines.append(("left out: no consent to scoring", f"{counts.unconsented:,}"))
    return _table("|---|---:|", ("what became of the rows", "rows"), lines)


def _bands(result: ScoreResult) -> str:
    """How the answers are spread, beside what training knew."""
    if not result.bands:
        return f"**Spread of the answers:** not shown of fewer than {SMALLEST_CELL}" if result.sealed else ""
    total = sum(band.rows for band in result.bands)
    shares = [band.rows / total for band in result.bands]
    largest = max(shares)
    lines = [
        (
            _span(band, result.task),
            f"{band.rows:,}",
            f"{share:.1%}",
            f"{band.expected:.1%}",
            "━" * round(_BAR * share / largest),
        )
        for band, share in zip(result.bands, shares, strict=True)
    ]
    what = "calibrated risk" if result.task == "classification" else "answer"
    return _table("|---|---:|---:|---:|:---|", (what, "rows", "share", "in training", ""), lines)


def _span(band: ScoreBand, task: str) -> str:
    low, high = (_number(end, task) for end in (band.low, band.high))
    if not low:
        return f"below {high}" if high else "all"
    return f"{low} to {high}" if high else f"{low} and above"


def _number(value: float | None, task: str) -> str:
    if value is None:
        return ""
    return f"{value * 100:.3g} %" if task == "classification" else f"{value:.4g}"


def _cell(result: ScoreResult, count: int) -> str:
    """A count of records that have something in common."""
    return f"fewer than {SMALLEST_CELL}" if result.sealed and 0 < count < SMALLEST_CELL else f"{count:,}"


def _table(rule: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([head, rule, *lines])


def _line(gate: BatchGate) -> str:
    return f"{gate.name}: {gate.measured}, asked {gate.bound}" + (f" ({gate.detail})" if gate.detail else "")
