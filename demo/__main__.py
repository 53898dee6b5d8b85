"""`make demo`: tell the story, then keep the servers up until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time

from demo.story import REPOSITORY, Story


def main() -> None:
    """Tell the story once."""
    start = time.monotonic()
    story = Story(REPOSITORY / ".lifecycle" / "demo" / "project")
    try:
        story.tell()
        print(f"The whole story took {time.monotonic() - start:.0f} s. Look around:")
        for name, address in story.addresses.items():
            print(f"  {name:<12} {address}")
        if sys.stdin.isatty():
            print("Ctrl-C takes everything down.")
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        story.close()


if __name__ == "__main__":
    main()
