"""Keys and what they protect: signatures, sealed records, subject keys, erasure, consent, access, the audit.

The only door to `cryptography`. Private and table keys are read in this room alone, and never leave it:
other rooms hold a `Signer`, or pass what is to be sealed and opened. A new scheme is a new module beside
``signing.py``, not an option of it; a new place for the key encryption key is a module in ``providers``.

    providers/     hold the key encryption key, and wrap a few table keys with it
    key_table      the database, and its table keys
    identifiers    from a person's identifier to a ref, by blind index
    key_ring       from refs to subject keys, for those who seal and open
    erasure, rotation, consent, audit, access
    envelope       one ciphertext, bound to its key and place; derivation makes the key
    columns        a column as bytes of rows; rows: a table as chunks, subject by subject
    plan           which column is of which access group
    sealing        writes a segment; segment opens it; manifest holds the segments together
    vault          all of it for one system, as other rooms hold it; ephemeral: for files that live minutes
"""
