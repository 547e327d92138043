"""`unified-profile` on PostgreSQL and SQLite."""
