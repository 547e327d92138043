"""MongoDB as a store: exact documents, transactions of a replica set, and a ledger beside the data."""
