"""How a flow ended, for people: the artifact in the Prefect UI and the last words on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from lifecycle.core.trigger import BECAUSE
from lifecycle.core.values import Evaluation, FlowResult


def as_text(result: FlowResult) -> str:
    """A few plain lines.

    Example:
        >>> from datetime import UTC, datetime
        >>> print(as_text(FlowResult(system="demo", status="unchanged", reason="nothing new",
        ...                          as_of=datetime(2026, 1, 1, tzinfo=UTC))))
        demo: unchanged as of 2026-01-01: nothing new
    """
    lines = [f"{result.system}: {result.status} as of {result.as_of:%Y-%m-%d}: {result.reason}"]
    if result.evaluation:
        lines += [
            f"  against {_name(it.against)}: {it.metric} {it.candidate:.4g} vs {it.other:.4g}, {it.verdict}"
            for it in result.evaluation.comparisons
        ]
        lines += [
            f"  not met: {gate.name} is {gate.measured}, asked {gate.bound} {gate.detail}".rstrip()
            for gate in result.evaluation.gates
            if not gate.ok
        ]
        if result.evaluation.surprise:
            lines.append(f"  engine: {result.evaluation.surprise}")
        lines.append(f"  report: {result.evaluation.report}")
    if result.version:
        lines.append(f"  version {result.version.version}, release {result.version.release.digest[:12]}")
    return "\n".join(lines)


def as_markdown(result: FlowResult, addresses: Mapping[str, str]) -> str:
    """The artifact: what happened, on which evidence, and where to look next.

    Args:
        result: How the flow ended.
        addresses: Service name (``serving``, ``mlflow``) -> address, as far as they are up.
    """
    parts = [
        f"## {result.system}: {result.status}",
        result.reason,
        f"As of **{result.as_of:%Y-%m-%d %H:%M}** UTC"
        + (f"; it ran because {BECAUSE[result.trigger]}" if result.trigger else ""),
        _links(result, addresses),
    ]
    if result.snapshot:
        counts = result.snapshot.counts
        parts.append(
            f"**Data** `{result.snapshot.id[:12]}`: {counts.kept:,} rows, {counts.quarantined:,} refused, "
            f"{counts.corrections:,} corrected, {counts.immature:,} awaiting their label{counts.withheld}; "
            f"commit `{result.snapshot.commit[:12]}`"
        )
        parts += [f"**Warning:** {warning}" for warning in result.snapshot.warnings]
    if result.split:
        windows = [("train", result.split.train), ("validation", result.split.validation)]
        windows.append(("test", result.split.test))
        rows = [f"| {name} | {w.start:%Y-%m-%d} | {w.end:%Y-%m-%d} | {w.rows:,} |" for name, w in windows]
        parts.append("\n".join(["| part | from | before | rows |", "|---|---|---|---:|", *rows]))
    if result.evaluation:
        if result.evaluation.surprise:
            parts.append(f"**Engine:** {result.evaluation.surprise}")
        parts += _evidence(result.evaluation)
    return "\n\n".join(part for part in parts if part)


def _evidence(evaluation: Evaluation) -> list[str]:
    table = ["| against | metric | candidate | other | difference | verdict |", "|---|---|---:|---:|---|---|"]
    table += [
        f"| {_name(it.against)} | {it.metric} | {it.candidate:.4g} | {it.other:.4g} "
        f"| {it.difference:+.3g} ({it.low:+.3g} … {it.high:+.3g}) | **{it.verdict}** |"
        for it in evaluation.comparisons
    ]
    gates = ["| gate | measured | asked | |", "|---|---:|---:|---|"]
    gates += [
        f"| {gate.name} | {gate.measured} | {gate.bound} | {'✓' if gate.ok else f'**✗ {gate.detail}**'} |"
        for gate in evaluation.gates
    ]
    return ["\n".join(table), "\n".join(gates)]


def _name(against: str) -> str:
    """A baseline's name, or the champion's digest cut short."""
    return f"champion {against[:12]}" if len(against) == 64 else against


def _links(result: FlowResult, addresses: Mapping[str, str]) -> str:
    links = []
    if "mlflow" in addresses:
        model = f"{addresses['mlflow']}/#/models/{quote(result.system)}"
        version = result.version or result.deployment
        links.append(f"[Model in MLflow]({model}{f'/versions/{version.version}' if version else ''})")
        if result.version:
            links.append(f"[Run and report]({addresses['mlflow']}/#/runs/{result.version.run})")
    if "serving" in addresses:
        links.append(f"[Endpoint]({addresses['serving']}/v1/{result.system})")
        links.append(f"[API page]({addresses['serving']}/docs)")
    return " · ".join(links)
