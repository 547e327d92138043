"""Every line of an account becomes a posting, on MongoDB."""

from __future__ import annotations

from typing import Any

from backtrail import Entity, Keys, Migration, Rows


class Postings(Migration):
    """Lines of accounts become postings."""

    name = "postings"
    keys = Keys("accounts", "_id")
    reads = (Rows("lines", by="account_id"),)
    writes = ("postings",)

    def migrate(self, account: Entity) -> None:
        for line in account.rows("lines"):
            account.copy("postings", line, set={"amount": -line["amount"]})

    def expand(self, schema: Any) -> None:
        schema.create_collection("postings", indexes=[{"keys": [("account_id", 1)], "name": "account_id_1"}])
