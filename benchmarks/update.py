"""An update with new data, beside fitting, conversion and the requirement measurements."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.laps import Laps
from benchmarks.project import Flow

LEFT_OUT = {
    "fit": "fitting",
    "to_onnx": "conversion",
    "compare": "parity",
    "ServerProbe.measure": "the requirement measurements",
}


@dataclass(frozen=True)
class _Run:
    flow: Flow
    parts: dict[str, float]

    @property
    def beside(self) -> float:
        """Seconds of all but what is left out."""
        return self.flow.seconds - sum(self.parts.values())


def measure(bench: Bench) -> Figure:
    """Deploy for the first time, then update from there, several times."""
    story = bench.story
    project = bench.project
    runs = []
    for number in range(bench.size.updates):
        project.restore()
        laps = Laps(bench.folder / "laps.jsonl")
        flow = project.flow("update", story.second, laps.environment)
        runs.append(_Run(flow, {name: laps.seconds[name] for name in LEFT_OUT}))
        bench.say(
            f"update {number + 1}: {flow.seconds:.1f} s, {runs[-1].beside:.1f} s beside what is left out"
        )
    whole = Samples.of((run.flow.seconds for run in runs), "s")
    parts = {name: Samples.of((run.parts[name] for run in runs), "s") for name in LEFT_OUT}
    return Figure(
        name="update",
        title="An update with new data",
        how=(
            f"In a fresh clone with its own state, {story.system} is deployed as of {story.first}; then "
            f"`lifecycle update {story.system} --as-of {story.second}` runs without a server and is timed "
            "from outside, start of the interpreter and all imports included. Before each repeat the project "
            "is brought back to the moment after the first deployment. What is left out is timed within the "
            "same run: `benchmarks/stopwatch` puts a clock around those four functions, in whichever process "
            "calls them, when their module is imported."
        ),
        lines=(
            Measured(
                "all but " + ", ".join(LEFT_OUT.values()),
                Samples.of((run.beside for run in runs), "s"),
                Bound("at most", 25),
                Beside("the whole command", whole),
            ),
            *(Measured(f"left out: {what}", parts[name]) for name, what in LEFT_OUT.items()),
        ),
        notes=_notes(runs),
    )


def _notes(runs: list[_Run]) -> tuple[str, ...]:
    middle = sorted(runs, key=lambda run: run.beside)[len(runs) // 2].flow
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in middle.steps.items())
    rest = middle.seconds - sum(middle.steps.values())
    counts = middle.result["snapshot"]["counts"]
    return (
        f"The middle run, as the command shows it: {steps}; the other {rest:.1f} s are the start, imports, "
        "the system's lock and the aliases.",
        f"{counts['kept']:,} rows in the snapshot; the update ended as *{middle.result['status']}*.",
    )
