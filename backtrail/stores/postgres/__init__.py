"""PostgreSQL as a store: every value as the server's own text, under settings pinned for the transaction."""
