"""An update that finds nothing new."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.commands import PYTHON, seconds_of
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.project import Flow, Project


def measure(bench: Bench) -> Figure:
    """Update, then update again as of a moment by which no further label has matured."""
    story, project, warm_ups = bench.story, bench.project, bench.size.warm_ups
    if project.as_of != story.second:
        project.flow("update", story.second)
    before = project.versions
    flows = [_unchanged(project, story.later) for _ in range(warm_ups + bench.size.starts)][warm_ups:]
    bench.say(f"unchanged: {', '.join(f'{flow.seconds:.1f} s' for flow in flows)}")
    whole = Samples.of((flow.seconds for flow in flows), "s")
    importing = seconds_of([*PYTHON, "-c", "import mlflow"], bench.size.starts, warm_ups)
    project.lifecycle("data", "checkout", story.system)
    dvc = str(Path(sys.executable).with_name("dvc"))
    asking = seconds_of(
        [dvc, "status", "--quiet", f"data/{story.system}.dvc"], bench.size.starts, warm_ups, project.root
    )
    new = float(project.versions - before)
    return Figure(
        name="unchanged",
        title="An update with nothing new",
        how=(
            f"After an update as of {story.second}: `lifecycle update {story.system} --as-of {story.later}`, "
            "without a server, timed from outside. All sources are read and validated again, the data is "
            "hashed, DVC looks at every stage, and the registry's aliases are compared with the ledger."
        ),
        lines=(
            Measured(
                "the whole command",
                whole,
                Bound("at most", 8),
                Beside('`python -c "import mlflow"`', Samples.of(importing, "s")),
            ),
            Measured(
                "the same, beside DVC's own answer",
                whole,
                beside=Beside("`dvc status` of the data alone", Samples.of(asking, "s")),
            ),
            Measured("new versions", Samples((new,), ""), Bound("at most", 0)),
        ),
        notes=(f"It ended as *unchanged*: {flows[-1].result['reason'].partition(':')[0]}.",),
    )


def _unchanged(project: Project, as_of: str) -> Flow:
    flow = project.flow("update", as_of)
    if flow.result["status"] != "unchanged":
        raise SystemExit(f"the update should find nothing new, and ended as {flow.result['status']}")
    return flow
