"""What records are opened or kept for: the words of policies, statements of consent and audit entries."""

from __future__ import annotations

TRAINING, SCORING, LOGGING = "training", "scoring", "logging"

CONSENTED = (TRAINING, SCORING, LOGGING)
"""Those that a subject agrees to, or withdraws from."""

INGEST = "ingest"
"""A sealed prediction log is opened to match outcomes, and to take rows into a snapshot."""

COMPACTION = "compaction"
"""A segment of the prediction log is opened to be sealed person by person; no policy is asked."""
