"""The steps that bring the ledger of an older version to this one's form."""
