"""Rejected messages of a ledger on SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from backtrail.stores.base import Transaction
from ledger.keyring import Keyring
from ledger.rejected import Rejection, Rejections
from ledger.sql.tables import ledger_tables


class SqlRejections(Rejections):
    """The rows of rejected messages."""

    def __init__(self, dialect: str, keyring: Keyring) -> None:
        super().__init__(keyring)
        self.table = ledger_tables(dialect).rejected
        self.fields = [self.table.c[name] for name in Rejection.__dataclass_fields__]

    def count(self, tx: Transaction) -> int:
        return int(tx.connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(self.table.c.count), 0))))

    def by_fault(self, tx: Transaction) -> dict[str, int]:
        total = sa.func.sum(self.table.c.count).label("total")
        query = sa.select(self.table.c.fault, total).group_by(self.table.c.fault).order_by(total.desc(), self.table.c.fault)
        return {fault: int(count) for fault, count in tx.connection.execute(query)}

    def clear(self, tx: Transaction) -> int:
        count = self.count(tx)
        tx.connection.execute(sa.delete(self.table))
        return count

    def insert(self, tx: Transaction, rejections: Sequence[Rejection]) -> None:
        if rejections:
            tx.connection.execute(sa.insert(self.table), [asdict(one) for one in rejections])

    def take(self, tx: Transaction, newest: int) -> list[Rejection]:
        table = self.table
        last = sa.select(table.c.id).order_by(table.c.id.desc()).limit(1).offset(2 * newest)
        if tx.connection.scalar(last) is None:
            return []
        oldest = sa.select(table.c.id).order_by(table.c.id.desc()).limit(1).offset(newest).scalar_subquery()
        return [
            Rejection(*row) for row in tx.connection.execute(sa.delete(table).where(table.c.id <= oldest).returning(*self.fields))
        ]

    def latest(self, tx: Transaction, limit: int) -> list[Rejection]:
        query = sa.select(*self.fields).order_by(self.table.c.at.desc(), self.table.c.id.desc()).limit(limit)
        return [Rejection(*row) for row in tx.connection.execute(query)]
