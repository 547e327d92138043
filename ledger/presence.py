"""Who is at work: workers that were seen lately, and the one feeder that leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from backtrail.stores.base import Transaction
from ledger.tables import ledger_tables

ALIVE_MS = 15_000
"""How long after it was last seen a worker counts as alive; it shows itself every few seconds."""

LEASE_MS = 5_000
"""How long a feeder leads without renewing: as long as nobody feeds after it was killed."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that was seen at `seen_at` (milliseconds since 1970), and what it said of itself."""

    id: str
    seen_at: int
    info: dict[str, Any]


class Presence:
    """The rows of workers and leases."""

    def __init__(self, dialect: str) -> None:
        tables = ledger_tables(dialect)
        self.workers, self.leases = tables.workers, tables.leases

    def show(self, tx: Transaction, worker: str, info: dict[str, Any]) -> None:
        """Nothing; the worker was seen now. Workers that were not seen for long are forgotten."""
        table, now = self.workers, milliseconds(tx)
        if not tx.connection.execute(sa.update(table).where(table.c.id == worker).values(seen_at=now, info=info)).rowcount:
            tx.connection.execute(sa.insert(table).values(id=worker, seen_at=now, info=info))
        tx.connection.execute(sa.delete(table).where(table.c.seen_at < now - 20 * ALIVE_MS))

    def leave(self, tx: Transaction, worker: str) -> None:
        """Nothing; the worker is gone, and leads no more."""
        tx.connection.execute(sa.delete(self.workers).where(self.workers.c.id == worker))
        tx.connection.execute(sa.update(self.leases).where(self.leases.c.owner == worker).values(until=0))

    def alive(self, tx: Transaction) -> list[Worker]:
        """The workers that were seen lately."""
        table = self.workers
        rows = tx.connection.execute(sa.select(table).where(table.c.seen_at > milliseconds(tx) - ALIVE_MS).order_by(table.c.id))
        return [Worker(row.id, row.seen_at, row.info) for row in rows]

    def lead(self, tx: Transaction, name: str, owner: str) -> int | None:
        """The fence of the owner's lease, which grows with every change of leader; None while somebody else leads."""
        table, now = self.leases, milliseconds(tx)
        query = sa.select(table).where(table.c.name == name).with_for_update()
        row = tx.connection.execute(query).first()
        if row is None:
            # Two may be the first at once: whoever inserts, one of them then has the row.
            insert = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
            free = {"name": name, "owner": "", "until": 0, "fence": 0}
            tx.connection.execute(insert(table).values(free).on_conflict_do_nothing())
            row = tx.connection.execute(query).one()
        if row.owner != owner and row.until > now:
            return None
        fence = int(row.fence) + int(row.owner != owner)
        tx.connection.execute(sa.update(table).where(table.c.name == name).values(owner=owner, until=now + LEASE_MS, fence=fence))
        return fence


def milliseconds(tx: Transaction) -> int:
    """The transaction's time, in milliseconds since 1970, UTC."""
    return round(tx.now.timestamp() * 1000)
