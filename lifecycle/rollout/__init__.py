"""What is live, and why: pure decisions, and the append-only ledger that the servers obey.

A new rule about what may follow what goes to ``decisions``, a new column to ``tables``, a new trigger to
``dialects``; another kind of database is a module beside ``sqlite``, chosen in ``databases``. This room is
the only door to psycopg.
"""
