"""Looking through the memory of another process, as somebody with a debugger could; on Linux."""

from __future__ import annotations

import re
from pathlib import Path

_NOT_MEMORY = ("[vvar]", "[vvar_vclock]", "[vsyscall]")
_AROUND = 20


def found_in_memory(pid: int, pattern: re.Pattern[bytes]) -> list[bytes]:
    """What matches in all that a process has in memory, with the bytes around it.

    Args:
        pid: The process, of this user.
        pattern: What to look for.

    Raises:
        PermissionError: It is another user's.
    """
    found: list[bytes] = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            place, mode, *_, name = line.split()
            if "r" not in mode or name in _NOT_MEMORY:
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except OSError:  # a device, or a mapping that has gone since
                continue
            found += [
                content[max(0, match.start() - _AROUND) : match.end() + _AROUND]
                for match in pattern.finditer(content)
            ]
    return found
