"""How fast the command line answers."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.commands import PYTHON, seconds_of
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples


def measure(bench: Bench) -> Figure:
    """`lifecycle --help`, and Click alone."""
    count, warm_ups = bench.size.commands, bench.size.warm_ups
    told = Samples.of(seconds_of([*PYTHON, "-m", "lifecycle", "--help"], count, warm_ups), "s")
    click = Samples.of(seconds_of([*PYTHON, "-c", "import click"], count, warm_ups), "s")
    bench.say(f"lifecycle --help: {told}; import click: {click}")
    return Figure(
        name="help",
        title="The command line",
        how="Timed from outside, start of the interpreter included.",
        lines=(
            Measured(
                "`lifecycle --help`", told, Bound("at most", 0.3), Beside('`python -c "import click"`', click)
            ),
        ),
    )
