"""Keys and what they protect: signatures, sealed records; consent and erasure belong here too.

The only door to `cryptography`. Reading a private key happens in this room alone, and never leaves it:
other rooms hold a `Signer`. A new scheme is a new module beside ``signing.py``, not an option of it.

    envelope.py   one ciphertext, bound to its key and place.py; derivation.py makes the key
    columns.py    a column as bytes of rows; rows.py: a table as chunks, subject by subject
    plan.py       which column is of which access group
    sealing.py    writes a segment; segment.py opens it; manifest.py holds the segments together
"""
