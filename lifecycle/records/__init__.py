"""Keys and what they protect: today the signature of a release; seals, consent and erasure belong here too.

The only door to `cryptography`. Reading a private key happens in this room alone, and never leaves it:
other rooms hold a `Signer`. A new scheme is a new module beside ``signing.py``, not an option of it.
"""
