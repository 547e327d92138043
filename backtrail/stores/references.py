"""Rows of others that refer to rows that would go away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backtrail.errors import Referenced
from backtrail.image import Ref
from backtrail.stores.cells import ref_cells, ref_key
from backtrail.stores.tables import ForeignKey, Table

if TYPE_CHECKING:
    from backtrail.stores.rows import SqlTransaction


def refuse_references(tx: SqlTransaction, table: Table, refs: Sequence[Ref], going: Sequence[Ref]) -> None:
    """Nothing, where only rows that go as well refer to those rows of the table.

    It also refuses what the database would allow (ON DELETE CASCADE, SET NULL): that would change rows of which the ledger knows nothing.

    Args:
        tx: the transaction.
        table: the table of the rows.
        refs: the rows.
        going: all rows that go, of whatever table.

    Raises:
        Referenced: somebody else's row refers to one of them.
    """
    if not table.incoming:
        return
    pairs = [(at, *ref_cells(ref.key)) for at, ref in enumerate(refs)]
    if tx.keep_clause:
        # Somebody may be inserting a reference just now: waits for him, and keeps the next one waiting.
        sql, parameters = tx.joined(table, table.key_columns, pairs)
        tx.rows_of(f"SELECT k.column1 FROM {sql} {tx.keep_clause}", parameters)
    for key in table.incoming:
        left = {ref.key for ref in going if ref.table == key.table}
        strangers = [key_ for chunk in tx.chunks(pairs) for key_ in _referring(tx, table, key, chunk) if key_ not in left]
        if strangers:
            raise Referenced(
                f"{len(strangers)} row(s) of {key.table} refer by {', '.join(key.columns)} to rows of {table.name} that would go away"
            )


def _referring(tx: SqlTransaction, table: Table, key: ForeignKey, pairs: Sequence[Sequence[object]]) -> list[str]:
    """The keys of the rows that refer by that foreign key to the rows of those keys."""
    other = tx.store.table(key.table)
    sql, parameters = tx.joined(table, table.key_columns, pairs)
    match = " AND ".join(f"o.{tx.quote(a)} = t.{tx.quote(b)}" for a, b in zip(key.columns, key.target_columns, strict=True))
    own = ", ".join(f"o.{tx.quote(name)}" for name in other.key) or "NULL"
    rows = tx.rows_of(f"SELECT {own} FROM {sql} JOIN {other.sql} o ON {match}", parameters)
    return [ref_key([other.tag(cell) for cell in row]) for row in rows]
