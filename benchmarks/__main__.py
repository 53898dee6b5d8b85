"""`make bench`: measure all figures, or the named ones, in one go."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib import import_module
from pathlib import Path

from benchmarks.bench import FULL, SMALL, Bench
from benchmarks.commands import ROOT
from benchmarks.document import render
from benchmarks.figure import Figure
from benchmarks.machine import load, machine

PAGE = ROOT / "docs" / "benchmarks.md"
# The quick and quiet ones first; the large ingest last, when its heat and dirty pages harm nobody.
FIGURES = ("help", "update", "unchanged", "serving", "switch", "house-prices", "batch", "ingest")
# `make bench-serving`: half an hour of servers, and 2 GB of their libraries.
SERVING_FIGURES = ("serving-peers",)
# `make bench-records`: minutes of processor time, and nothing else running.
RECORD_FIGURES = ("records", "sealed-keys", "sealed-training", "sealed-serving")
PAGES = {
    FIGURES: PAGE,
    SERVING_FIGURES: ROOT / "docs" / "benchmarks-serving.md",
    RECORD_FIGURES: ROOT / "docs" / "benchmarks-records.md",
}
KNOWN = (*FIGURES, *SERVING_FIGURES, *RECORD_FIGURES)


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(KNOWN)}; the first eight, if none is named",
    )
    parser.add_argument("--date", type=date.fromisoformat, default=date.today(), help="the page's date")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument(
        "--out", type=Path, help="write the page here (all at full size: its page below docs/)"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(KNOWN):
        parser.error(f"no figure is named {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}")
    names = options.names or FIGURES
    facts, start = machine(), time.perf_counter()
    found = measure(names, small=options.small)
    took = f"{time.perf_counter() - start:.0f} s in all, load average at the end: {load()}"
    page = render(
        found, (*facts, took), options.date, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    )
    # A page of some figures, or of tiny ones, must not replace the whole one.
    whole = next((page for figures, page in PAGES.items() if set(names) == set(figures)), None)
    out = options.out or (None if options.small else whole)
    if out is None:
        print(page)
        return
    out.write_text(page, encoding="utf-8")
    say(f"written: {os.path.relpath(out)}")


def measure(names: tuple[str, ...] | list[str], *, small: bool) -> list[Figure]:
    """Measure figures one after the other, in a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        bench = Bench(Path(folder).resolve(), SMALL if small else FULL, say)
        return [figure(name)(bench) for name in names]


def figure(name: str) -> Callable[[Bench], Figure]:
    """The function that measures a figure."""
    found: Callable[[Bench], Figure] = import_module(f"benchmarks.{name.replace('-', '_')}").measure
    return found


def say(line: str) -> None:
    """A line of progress, to stderr."""
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
