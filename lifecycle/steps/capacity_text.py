"""The capacity of a machine in words, and latency versus load as a picture of plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lifecycle.core.capacity import CapacityReport, LoadPoint, duration

_WIDTH = 44


def as_text(report: CapacityReport) -> str:
    """What was found, how many machines that makes, and the loads behind it."""
    found, budget = report.capacity, duration(report.capacity.budget_ms)
    least = "at least " if found.at_least and found.per_s else ""
    lines = [
        picture(found.points, found.budget_ms),
        "",
        f"{report.system}: {report.measured}, asked with {report.records}",
    ]
    if report.busy:
        lines.append(
            f"this machine was busy before (load average {report.load_before}, {report.cores} cores): "
            "it can do more than this when it is idle"
        )
    if report.machines is None:
        lines.append(f"no rate keeps 99 % of the answers within {budget}: {found.limit}")
        return "\n".join(lines)
    lines += [
        f"{least}{found.per_s:,.0f} requests a second with 99 % of the answers within {budget} and no error, "
        f"confirmed {found.confirmed} times",
        f"  beyond it: {found.limit}",
        f"{report.asked_per_s:,.0f} requests a second, {report.headroom:.0%} of each machine kept free: "
        f"{_counted(report.machines, 'such machine')}",
    ]
    return "\n".join(lines)


def picture(points: Sequence[LoadPoint], budget_ms: float) -> str:
    """One line per rate from its median to its 99th percentile, on a logarithmic scale, and the budget.

    Args:
        points: By rate; of several loads at one rate the last one is drawn.
        budget_ms: Where the budget's mark stands.
    """
    shown = [point for point in {point.rate_per_s: point for point in points}.values() if point.p99_ms > 0]
    if not shown:
        return "nothing was measured"
    low = min([point.p50_ms for point in shown] + [budget_ms])
    high = max([point.p99_ms for point in shown] + [budget_ms]) * 1.01
    span = math.log(high / low) or 1.0

    def place(milliseconds: float) -> int:
        return min(int(math.log(max(milliseconds, low) / low) / span * _WIDTH), _WIDTH - 1)

    lines = [f"{'load':>10}  {'p50':>8}  {'p99':>8}  {'p50 ●━━━○ p99':<{_WIDTH}}  │ {duration(budget_ms)}"]
    for point in shown:
        cells = [" "] * _WIDTH
        left, right = place(point.p50_ms), place(point.p99_ms)
        cells[left : right + 1] = ["━"] * (right + 1 - left)
        mark = place(budget_ms)
        cells[mark] = "┿" if cells[mark] == "━" else "│"
        cells[left], cells[right] = "●", "○"
        fault = point.fault(budget_ms)
        lines.append(
            f"{point.rate_per_s:>8,.0f}/s  {duration(point.p50_ms):>8}  {duration(point.p99_ms):>8}  "
            f"{''.join(cells)}  {f'✗ {fault}' if fault else '✓'}"
        )
    return "\n".join(lines)


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
