"""Keys and what they protect: signatures, subject keys, erasure, consent, access and the audit trail.

The only door to `cryptography`. Private and table keys are read in this room alone, and never leave it:
other rooms hold a `Signer`, or pass what is to be sealed and opened. A new scheme is a new module beside
``signing.py``, not an option of it; a new place for the key encryption key is a module in ``providers``.

    providers/     hold the key encryption key, and wrap a few table keys with it
    key_table      the database, and its table keys
    identifiers    from a person's identifier to a ref, by blind index
    key_ring       from refs to subject keys, for those who seal and open
    erasure, rotation, consent, audit, access
"""
