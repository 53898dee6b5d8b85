"""`make demo`: tell the story, then keep the servers up until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import closing, suppress

from demo.story import REPOSITORY, Story


def main() -> None:
    """Tell the story once."""
    start = time.monotonic()
    story = Story(REPOSITORY / ".lifecycle" / "demo" / "project")
    # Ctrl-C is how a visitor leaves, wherever the story is.
    with suppress(KeyboardInterrupt), closing(story):
        story.tell()
        print(f"The whole story took {time.monotonic() - start:.0f} s. Look around:")
        for name, address in story.addresses.items():
            print(f"  {name:<12} {address}")
        if sys.stdin.isatty():
            print("Ctrl-C takes everything down.")
            signal.pause()


if __name__ == "__main__":
    main()
