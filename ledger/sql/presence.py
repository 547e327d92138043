"""Workers and leases of a ledger on SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backtrail.stores.base import Transaction
from ledger.presence import ALIVE_MS, LEASE_MS, Presence, Worker, milliseconds
from ledger.sql.tables import ledger_tables


class SqlPresence(Presence):
    """The rows of workers and leases."""

    def __init__(self, dialect: str) -> None:
        tables = ledger_tables(dialect)
        self.workers, self.leases = tables.workers, tables.leases

    def show(self, tx: Transaction, worker: str, info: dict[str, Any]) -> None:
        table, now = self.workers, milliseconds(tx)
        if not tx.connection.execute(sa.update(table).where(table.c.id == worker).values(seen_at=now, info=info)).rowcount:
            tx.connection.execute(sa.insert(table).values(id=worker, seen_at=now, info=info))
        tx.connection.execute(sa.delete(table).where(table.c.seen_at < now - 20 * ALIVE_MS))

    def leave(self, tx: Transaction, worker: str) -> None:
        tx.connection.execute(sa.delete(self.workers).where(self.workers.c.id == worker))
        tx.connection.execute(sa.update(self.leases).where(self.leases.c.owner == worker).values(until=0))

    def alive(self, tx: Transaction) -> list[Worker]:
        table = self.workers
        rows = tx.connection.execute(sa.select(table).where(table.c.seen_at > milliseconds(tx) - ALIVE_MS).order_by(table.c.id))
        return [Worker(row.id, row.seen_at, row.info) for row in rows]

    def leader(self, tx: Transaction, name: str) -> str | None:
        table = self.leases
        query = sa.select(table.c.owner).where(table.c.name == name, table.c.until > milliseconds(tx))
        found = tx.connection.scalar(query)
        return None if found is None else str(found)

    def lead(self, tx: Transaction, name: str, owner: str, lasting: int = LEASE_MS) -> int | None:
        table, now = self.leases, milliseconds(tx)
        query = sa.select(table).where(table.c.name == name).with_for_update()
        row = tx.connection.execute(query).first()
        if row is None:
            # Two may be the first at once: whoever inserts, one of them then has the row.
            from sqlalchemy.dialects import postgresql, sqlite  # dear to load, and `status` never comes here

            insert = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
            free = {"name": name, "owner": "", "until": 0, "fence": 0}
            tx.connection.execute(insert(table).values(free).on_conflict_do_nothing())
            row = tx.connection.execute(query).one()
        if row.owner != owner and row.until > now:
            return None
        fence = int(row.fence) + int(row.owner != owner)
        tx.connection.execute(sa.update(table).where(table.c.name == name).values(owner=owner, until=now + lasting, fence=fence))
        return fence
