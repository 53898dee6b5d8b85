"""The figures of `docs/benchmarks.md`: `make bench` measures them all in one go, and writes the page.

One module per figure, each with ``measure(bench) -> Figure``, listed in ``__main__``. A figure names its
bound and what it is measured beside: a peer or a limit, run in the same minutes on the same machine.
"""
