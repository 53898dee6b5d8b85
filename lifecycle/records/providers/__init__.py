"""Where the key encryption keys (KEK) are kept: a file, the environment, Vault.

A new kind is a module here that fulfils ``port.KeyProvider``, is opened by ``opening.py``, and passes the
contract suite that all of them pass.
"""
