"""The ledger on SQL: tables beside the data's, written in the same transaction."""
