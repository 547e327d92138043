"""PostgreSQL: who holds a unique value, by the index that refused it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import psycopg

from backtrail.errors import Quarantine, clash
from backtrail.stores.base import Write
from backtrail.stores.taken import holders

if TYPE_CHECKING:
    from backtrail.stores.postgres.transaction import PostgresTransaction

INDEX = """
SELECT pg_get_indexdef(i.indexrelid, k, true), pg_get_expr(i.indpred, i.indrelid), i.indisunique
FROM pg_index i CROSS JOIN generate_series(1, i.indnkeyatts) k WHERE i.indexrelid = %s::regclass ORDER BY k
"""


def taken(tx: PostgresTransaction, error: Exception, writes: Sequence[Write]) -> Quarantine | None:
    """Who holds the unique value that the writes need, where the error says that somebody does."""
    diag = error.diag if isinstance(error, psycopg.Error) else None
    if diag is None or not diag.constraint_name or not diag.table_name:
        return None
    tables = {write.table for write in writes}
    schema = tx.quote(diag.schema_name or "")
    place = f"{schema}.{tx.quote(diag.table_name)}"
    found = [table for table in map(tx.store.table, tables) if table.sql == place]
    if not found:
        return None  # a partition, say
    index = f"{schema}.{tx.quote(diag.constraint_name)}".replace("%%", "%")
    rows = tx.raw.execute(INDEX, (index,)).fetchall()
    exact = [tx.verbatim(text) for text, _, unique in rows if unique]
    condition = next((tx.verbatim(text) for _, text, _ in rows if text), "")
    if not exact:
        return clash(
            f"{found[0].name}: what must be unique by {diag.constraint_name} is held by another row; change or delete that first"
        )
    return holders(tx, found[0], diag.constraint_name, exact, condition, writes)
