"""Every line of an account becomes a posting, on PostgreSQL and SQLite."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backtrail import Entity, Keys, Migration, Rows


class Postings(Migration):
    """Lines of accounts become postings."""

    name = "postings"
    keys = Keys("accounts", "id")
    reads = (Rows("lines", by="account_id"),)
    writes = ("postings",)

    def migrate(self, account: Entity) -> None:
        for line in account.rows("lines"):
            account.copy("postings", line, set={"amount": -line["amount"]})

    def expand(self, schema: Any) -> None:
        schema.create_table(
            "postings",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("account_id", sa.Integer(), nullable=False, index=True),
            sa.Column("amount", sa.Integer(), nullable=False),
            sa.Column("purpose", sa.Text(), nullable=False),
        )
