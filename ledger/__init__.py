"""The ledger: the append-only record of what was done to every entity, and what follows from it."""
