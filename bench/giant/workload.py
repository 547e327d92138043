"""Accounts of three lines each, and one that has very many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pymongo import MongoClient

from bench.workload import Shape, Workload

BEFORE = 40
"""So many accounts stand before the one with many lines, and nearly all others behind it."""
FEW = 3
CHUNK = 5000
HERE = Path(__file__).parent

tables = sa.MetaData()
accounts = sa.Table("accounts", tables, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
lines = sa.Table(
    "lines",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.Integer, nullable=False, index=True),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
)
COLUMNS = tuple(lines.columns.keys())


class Giant(Workload):
    """The accounts, on any store."""

    created = ("postings",)

    def __init__(self, documents: bool, many: int, first: int) -> None:
        """The accounts.

        Args:
            documents: whether they are MongoDB's.
            many: lines of the one that has many.
            first: accounts that are none of its neighbours: those for warming.
        """
        self.documents, self.many, self.large = documents, many, first + BEFORE
        self.name = f"giant-{many}"
        self.source = f"{HERE / ('documents.py' if documents else 'sql.py')}:Postings"
        columns = () if documents else COLUMNS
        self.old = (Shape("accounts", () if documents else ("id",)), Shape("lines", columns))

    def fill(self, url: str, users: int) -> None:
        if self.documents:
            self._fill_documents(url, users)
            return
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            tables.create_all(connection)
            connection.execute(accounts.insert(), [{"id": number} for number in range(users)])
            for chunk in _chunks(self._lines(users)):
                connection.execute(lines.insert(), chunk)
        engine.dispose()

    def _fill_documents(self, url: str, users: int) -> None:
        with MongoClient[dict[str, Any]](url) as client:
            database = client.get_default_database()
            database["accounts"].insert_many([{"_id": number} for number in range(users)])
            for chunk in _chunks(self._lines(users)):
                database["lines"].insert_many([{"_id": line.pop("id"), **line} for line in chunk])
            database["lines"].create_index("account_id")

    def _lines(self, users: int) -> Iterator[dict[str, Any]]:
        number = 0
        for account in range(users):
            for _ in range(self.many if account == self.large else FEW):
                number += 1
                yield {"id": number, "account_id": account, "amount": number * 37 % 1000, "purpose": f"rent of month {number}"}


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
