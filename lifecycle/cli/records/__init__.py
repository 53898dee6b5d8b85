"""Verbs for sealed records: whose they are, what they agreed to, how they are forgotten, who looked."""

from lifecycle.cli.records.audit_verbs import audit
from lifecycle.cli.records.base import records
from lifecycle.cli.records.consent_verbs import consent
from lifecycle.cli.records.erase_verbs import erase, receipt
from lifecycle.cli.records.open_verb import open_verb
from lifecycle.cli.records.rotate_verbs import rotate, shred
from lifecycle.cli.records.status_verbs import status, subjects

__all__ = ["records"]

for verb in (status, open_verb, subjects, consent, erase, receipt, rotate, shred, audit):
    records.add_command(verb)
