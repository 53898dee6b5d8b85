"""Plain SQL on SQLite or PostgreSQL, for the ledger and the key table; the only door to psycopg."""
