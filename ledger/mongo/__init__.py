"""The ledger on MongoDB: collections in a database of its own beside the data's, written in the same transaction."""
