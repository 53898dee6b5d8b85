"""Why a system is trained, in words that everybody may read."""

from __future__ import annotations

from typing import Literal

Trigger = Literal["manual", "scheduled", "erasure", "withdrawal"]
"""A closed set: a word of one's own could name the person, and the ledger keeps it for good."""

BECAUSE: dict[Trigger, str] = {
    "manual": "somebody asked for it",
    "scheduled": "it was scheduled",
    "erasure": "a person was erased",
    "withdrawal": "a person withdrew their consent to training",
}
"""What each means."""
