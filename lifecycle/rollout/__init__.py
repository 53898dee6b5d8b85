"""What is live, and why: pure decisions, and the append-only ledger that the servers obey.

A new rule about what may follow what goes to ``decisions``, a new column or trigger to ``tables``, another
kind of database to ``databases``. This room is the only door to SQLAlchemy beside the SQL source in ``data``.
"""
