"""Our server with everything on, beside the limit and beside what people use today, in one run."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.ours import Ours, Up
from benchmarks.peers import registry
from benchmarks.peers.environment import PeerError
from benchmarks.peers.registry import Peer, encoded
from benchmarks.peers.running import agree, running
from benchmarks.wrk import Loaded, load
from lifecycle.core.values import Release
from lifecycle.serving.client import Connection
from lifecycle.serving.load.generator import OpenLoop

CONNECTIONS = (1, 16, 64)
CHECKED = 50
"""Records whose answers are compared before anything is timed."""

SWITCH_SHARE = 0.4
"""Of our QPS at 16 connections: what is offered, open-loop, while releases are switched."""

Load = Callable[[int], Loaded]
"""Number of connections -> one load."""


@dataclass(frozen=True)
class Pairs:
    """Loads of two servers taken in turn, round by round: by connections, ours and the other's."""

    ours: dict[int, list[Loaded]]
    other: dict[int, list[Loaded]]

    def ratio(self, connections: int, of: Callable[[Loaded], float]) -> Samples:
        """Ours to the other's, pair by pair."""
        pairs = zip(self.ours[connections], self.other[connections], strict=True)
        return Samples.of((of(ours) / of(other) for ours, other in pairs), "")

    def beside(self, name: str, connections: int, of: Callable[[Loaded], float], unit: str) -> Beside:
        """The other's own numbers."""
        return Beside(name, Samples.of(map(of, self.other[connections]), unit))


def measure(bench: Bench) -> Figure:
    """Ours beside the limit, `power` beside `process`, the peers, a switch, and a million requests."""
    ours = Ours(bench.project, bench.folder / "ours")
    expected = ours.answers(CHECKED)
    limit = _beside_limit(bench, ours, expected)
    peers, failed = _peers(bench, ours, expected)
    return Figure(
        name="serving-peers",
        title="Serving, beside the limit and the peers",
        how=(
            f"One model ({ours.system}, the first deployment's release) behind every server, one record of "
            f"the test window a request, {len(ours.records)} of them in turn, sent by wrk on the same cores. "
            "Ours is `lifecycle serve` with one worker and everything on: validation, an API key, limits, "
            "metrics and the prediction log. The limit is bare ASGI (uvicorn, uvloop, httptools), msgspec "
            f"and one `session.run`, nothing else. They are loaded in turn, {bench.size.rounds} rounds of "
            f"{bench.size.load_seconds:g} s, and compared pair by pair. Each peer has a virtual environment "
            f"of its own (`benchmarks/peers`) and must first answer {CHECKED} records as the release does, "
            "within 0.1 %."
        ),
        lines=(
            *_limit_lines(limit),
            *_power_lines(bench, ours),
            *_peer_lines(peers, limit.ours),
            *_process_lines(bench, ours),
            *_switch_lines(bench, ours, _median(limit.ours[16], _per_s)),
            *_memory_lines(bench, ours),
        ),
        notes=(*_tails(peers), *_failures(failed)),
    )


def _tails(peers: dict[Peer, dict[int, Loaded]]) -> tuple[str, ...]:
    tails = [f"{peer.title} {loads[64].p99_ms:,.0f} ms" for peer, loads in peers.items()]
    return (f"The peers' p99 at 64 connections: {', '.join(tails)}.",) if tails else ()


def _failures(failed: Sequence[tuple[Peer, str]]) -> tuple[str, ...]:
    """A peer that cannot be measured here is told, never dropped."""
    return tuple(f"{peer.title} could not be measured here: {reason}." for peer, reason in failed)


def _per_s(loaded: Loaded) -> float:
    return loaded.per_s


def _p99(loaded: Loaded) -> float:
    return loaded.p99_ms


def _cpu(loaded: Loaded) -> float:
    return loaded.cpu_us


def _median(loads: Sequence[Loaded], of: Callable[[Loaded], float]) -> float:
    return statistics.median(map(of, loads))


def _beside_limit(bench: Bench, ours: Ours, expected: dict[str, float]) -> Pairs:
    scratch = bench.folder / "limit"
    with ours.up() as up, running(registry.LIMIT, ours.release, scratch) as (port, process):
        agree(registry.LIMIT, port, ours.records[:CHECKED], expected)
        bodies = [encoded(registry.LIMIT, record) for record in ours.records]

        def limit(connections: int) -> Loaded:
            url = f"http://127.0.0.1:{port}/"
            seconds = bench.size.load_seconds
            return load(url, bodies, process, scratch, connections=connections, seconds=seconds)

        return in_turn(bench, "the limit", load_of(bench, ours, up), limit, CONNECTIONS)


def load_of(bench: Bench, ours: Ours, up: Up, seconds: float | None = None) -> Load:
    """Loads our server; for as long as every load lasts, unless it is said."""

    def loaded(connections: int) -> Loaded:
        found = load(
            up.address + ours.path,
            ours.bodies,
            up.process,
            ours.folder,
            connections=connections,
            seconds=bench.size.load_seconds if seconds is None else seconds,
            key=ours.key,
        )
        if found.errors:
            raise SystemExit(
                f"our server did not answer {found.errors} requests at {connections} connections"
            )
        return found

    return loaded


def in_turn(bench: Bench, name: str, ours: Load, other: Load, connections: Sequence[int]) -> Pairs:
    """Round by round, so that both see the same minutes of the machine; one round is not counted."""
    pairs = Pairs({number: [] for number in connections}, {number: [] for number in connections})
    for number in connections:
        ours(number), other(number)
        for _ in range(bench.size.rounds):
            pairs.other[number].append(other(number))
            pairs.ours[number].append(ours(number))
        mine, its = _median(pairs.ours[number], _per_s), _median(pairs.other[number], _per_s)
        bench.say(f"{number} connections: ours {mine:,.0f}/s, {name} {its:,.0f}/s, {mine / its:.2f}×")
    return pairs


def _limit_lines(limit: Pairs) -> tuple[Measured, ...]:
    lines = []
    for number in CONNECTIONS:
        bound = Bound("at least", 0.8) if number > 1 else None
        lines += [
            Measured(
                f"ours, {number} connection{'s' if number > 1 else ''}",
                Samples.of(map(_per_s, limit.ours[number]), "requests/s"),
                beside=limit.beside("the limit", number, _per_s, "requests/s"),
            ),
            Measured(f"of the limit's QPS, pair by pair, {number}", limit.ratio(number, _per_s), bound),
        ]
    cpu = Samples.of(map(_cpu, limit.ours[16]), "µs")
    tail = Samples.of(map(_p99, limit.ours[64]), "ms")
    return (
        *lines,
        Measured("CPU per request, 16", cpu, beside=limit.beside("the limit", 16, _cpu, "µs")),
        Measured("of the limit's CPU, pair by pair", limit.ratio(16, _cpu), Bound("at most", 1.25)),
        Measured("p99, 64", tail, beside=limit.beside("the limit", 64, _p99, "ms")),
        Measured("of the limit's p99, pair by pair", limit.ratio(64, _p99), Bound("at most", 1.5)),
    )


def _power_lines(bench: Bench, ours: Ours) -> tuple[Measured, ...]:
    """The same release with the log made safe against a power cut before each answer."""
    ledger, url = ours.ledger("power")
    ours.promote(ledger, ours.variant(durability="power"))
    with ours.up() as process, ours.up(url) as power:
        loads = load_of(bench, ours, power), load_of(bench, ours, process)
        pairs = in_turn(bench, "log `process`", *loads, (16, 64))
    return tuple(
        Measured(
            f"log `power`: of `process`'s QPS, pair by pair, {number}",
            pairs.ratio(number, _per_s),
            Bound("at least", 0.85),
        )
        for number in (16, 64)
    )


def _peers(
    bench: Bench, ours: Ours, expected: dict[str, float]
) -> tuple[dict[Peer, dict[int, Loaded]], list[tuple[Peer, str]]]:
    """Every peer's loads, and those that cannot be measured here, with the reason."""
    found: dict[Peer, dict[int, Loaded]] = {}
    failed = []
    for peer in registry.ALL:
        scratch = bench.folder / peer.name
        try:
            with running(peer, ours.release, scratch) as (port, process):
                agree(peer, port, ours.records[:CHECKED], expected)
                bodies = [encoded(peer, record) for record in ours.records]
                url = f"http://127.0.0.1:{port}{peer.path}"
                loads = {}
                for number in CONNECTIONS:
                    for seconds in (1.0, bench.size.load_seconds):  # the first is not counted
                        loads[number] = load(
                            url, bodies, process, scratch, connections=number, seconds=seconds
                        )
                    if loads[number].errors:
                        raise PeerError(f"{loads[number].errors} errors at {number} connections")
                found[peer] = loads
        except PeerError as error:
            failed.append((peer, str(error)))
        words = ", ".join(f"{it.per_s:,.0f}/s" for it in found[peer].values()) if peer in found else "failed"
        bench.say(f"{peer.title}: {words}")
    return found, failed


def _peer_lines(peers: dict[Peer, dict[int, Loaded]], ours: dict[int, list[Loaded]]) -> tuple[Measured, ...]:
    lines = [
        Measured(
            f"{peer.title}, {number} connection{'s' if number > 1 else ''}",
            Samples((loads[number].per_s,), "requests/s"),
            beside=Beside("ours", Samples.of(map(_per_s, ours[number]), "requests/s")),
        )
        for peer, loads in peers.items()
        for number in CONNECTIONS
    ]
    for batching, times, name in ((False, 40, "without batching"), (True, 8, "with adaptive batching")):
        rivals = {peer: loads[64].per_s for peer, loads in peers.items() if peer.batching is batching}
        if rivals:
            best = max(rivals, key=lambda peer: rivals[peer])
            lines.append(
                Measured(
                    f"ours, times the best peer {name}, 64 connections",
                    Samples.of((loaded.per_s / rivals[best] for loaded in ours[64]), ""),
                    Bound("at least", times),
                )
            )
    return tuple(lines)


def _process_lines(bench: Bench, ours: Ours) -> tuple[Measured, ...]:
    starts = []
    for _ in range(bench.size.starts + 1):
        with ours.up() as up:
            starts.append(up)
    return (
        Measured("ready", Samples.of((it.ready_s for it in starts[1:]), "s"), Bound("at most", 1.5)),
        Measured(
            "resident, ready", Samples.of((it.ready_mb for it in starts[1:]), "MB"), Bound("at most", 120)
        ),
    )


def _switch_lines(bench: Bench, ours: Ours, per_s: float) -> tuple[Measured, ...]:
    """Releases are switched under an open-loop load, in stretches of a second back to back."""
    ledger, url = ours.ledger("switch")
    releases = [ours.variant(budget_ms=999.0), ours.variant(budget_ms=998.0)]
    ratios, quiet, failures = [], [], 0
    with (
        ours.up(url) as up,
        OpenLoop([up.address], ours.path, ours.bodies, headers=[f"X-API-Key: {ours.key}"]) as loop,
    ):
        for turn in range(6 * bench.size.starts):
            release = releases[turn % 2]
            loop.offer(per_s * SWITCH_SHARE, 1, turn)
            earlier = loop.offer(per_s * SWITCH_SHARE, 1, turn)
            before = loop.offer(per_s * SWITCH_SHARE, 1, turn)
            clock = threading.Timer(0.2, ours.promote, (ledger, release))
            clock.start()
            during = []
            while not during or not _answers(up, ours, release):
                during.append(loop.offer(per_s * SWITCH_SHARE, 1, turn))
                if len(during) > 30:
                    raise SystemExit("the server did not switch within 30 s")
            clock.join()
            failures += sum(point.errors for point in (before, *during))
            quiet.append(before.p99_ms / earlier.p99_ms)
            ratios.append(max(point.p99_ms for point in during) / before.p99_ms)
    bench.say(f"switch: p99 {', '.join(f'{ratio:.2f}×' for ratio in ratios)}, {failures} failed")
    offered = f"{SWITCH_SHARE:.0%} of our QPS offered open-loop"
    return (
        Measured(
            f"p99 in the seconds of a switch, times the second before ({offered})",
            Samples.of(ratios, ""),
            Bound("at most", 2),
            Beside("seconds without a switch", Samples.of(quiet, "")),
        ),
        Measured("failed requests in them", Samples((float(failures),), ""), Bound("at most", 0)),
    )


def _answers(up: Up, ours: Ours, release: Release) -> bool:
    """Whether the server names a release as the live one."""
    with Connection(up.address) as connection:
        request = connection.prepare("GET", f"/v1/{ours.system}", headers=[f"X-API-Key: {ours.key}"])
        return release.digest.encode() in connection.send(request)[1]


def _memory_lines(bench: Bench, ours: Ours) -> tuple[Measured, ...]:
    """Resident memory after a tenth of many requests, and after all of them."""
    wanted = bench.size.requests
    with ours.up() as up:
        loaded, held, asked, begun = load_of(bench, ours, up), [], 0.0, time.perf_counter()
        while asked < wanted:
            asked += loaded(16).per_s * bench.size.load_seconds
            held.append((asked, up.process.memory_info().rss / 1e6))
    early = next(megabytes for number, megabytes in held if number >= wanted / 10)
    bench.say(f"memory: {asked:,.0f} requests in {time.perf_counter() - begun:.0f} s, {held[-1][1]:.0f} MB")
    return (
        Measured(
            f"resident after {wanted:,} requests",
            Samples((held[-1][1],), "MB"),
            beside=Beside("after a tenth of them", Samples((early,), "MB")),
        ),
        Measured(
            "memory that grew meanwhile", Samples((max(held[-1][1] - early, 0.0),), "MB"), Bound("at most", 5)
        ),
    )
