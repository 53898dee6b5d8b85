"""Load from wrk, a closed-loop load generator in C: requests a second and latencies, bodies sent in turn."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("WRK_BODIES")) do bodies[#bodies + 1] = line end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local key = os.getenv("WRK_KEY")
if key then wrk.headers["X-API-Key"] = key end
local requests, turn = {}, 0
init = function(args)
  for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, body) end
end
request = function()
  turn = turn % #requests + 1
  return requests[turn]
end
done = function(summary, latency, _)
  local e = summary.errors
  print(string.format("RESULT %d %d %d %d %d", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Loaded:
    """What one load saw.

    Attributes:
        per_s: Requests answered a second.
        p50_ms: Median latency, ms.
        p99_ms: 99th percentile, ms.
        errors: Answers other than 2xx or 3xx, and requests without one.
        cpu_us: CPU time of the server and all it started, per request, µs.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float


def load(
    url: str,
    bodies: Sequence[bytes],
    server: psutil.Process,
    scratch: Path,
    *,
    connections: int,
    seconds: float,
    key: str = "",
) -> Loaded:
    """Load a server for some seconds with one thread.

    Raises:
        SystemExit: wrk is not installed, or failed.
    """
    script, lines = scratch / "wrk.lua", scratch / "bodies.jsonl"
    script.write_text(_SCRIPT, encoding="utf-8")
    lines.write_bytes(b"\n".join(bodies) + b"\n")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s"]
    env = {"WRK_BODIES": str(lines), "PATH": "/usr/bin:/bin"} | ({"WRK_KEY": key} if key else {})
    before = cpu_seconds(server)
    try:
        done = subprocess.run(
            [*command, "-s", str(script), url], env=env, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise SystemExit("wrk is not installed: apt-get install wrk") from None
    spent = cpu_seconds(server) - before
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if not found:
        raise SystemExit(f"wrk failed: {done.stdout}{done.stderr}")
    requests, microseconds, p50, p99, errors = (int(number) for number in found.groups())
    answered = max(requests, 1)
    return Loaded(requests / microseconds * 1e6, p50 / 1e3, p99 / 1e3, errors, spent / answered * 1e6)


def cpu_seconds(server: psutil.Process) -> float:
    """CPU time of a process and its living descendants so far, seconds."""
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
