"""Rows of others that refer to rows that would go away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backtrail.errors import Referenced
from backtrail.image import Ref
from backtrail.stores.cells import ref_cells, ref_key
from backtrail.stores.tables import ForeignKey, Table

if TYPE_CHECKING:
    from backtrail.stores.rows import SqlTransaction


def refuse_references(tx: SqlTransaction, going: Sequence[Ref]) -> None:
    """Nothing, where only rows that go as well refer to the rows that go.

    It also refuses what the database would allow (ON DELETE CASCADE, SET NULL): that would change rows of which the ledger knows nothing.
    So it looks at all of them before the first one goes, and may take others along.

    Raises:
        Referenced: somebody else's row refers to one of them.
    """
    by_table: dict[str, list[str]] = {}
    for ref in going:
        by_table.setdefault(ref.table, []).append(ref.key)
    for name, keys in by_table.items():
        table = tx.store.table(name)
        if table.incoming:
            _refuse(tx, table, [(at, *ref_cells(key)) for at, key in enumerate(keys)], by_table)


def _refuse(tx: SqlTransaction, table: Table, pairs: Sequence[Sequence[Any]], going: Mapping[str, Sequence[str]]) -> None:
    if tx.keep_clause:
        # Somebody may be inserting a reference just now: waits for him, and keeps the next one waiting.
        sql, parameters = tx.joined(table, table.key_columns, pairs)
        tx.rows_of(f"SELECT k.column1 FROM {sql} {tx.keep_clause}", parameters)
    for key in table.incoming:
        left = set(going.get(key.table, ()))
        strangers = [own for chunk in tx.chunks(pairs) for own in _referring(tx, table, key, chunk) if own not in left]
        if strangers:
            raise Referenced(
                f"{len(strangers)} row(s) of {key.table} refer by {', '.join(key.columns)} to rows of {table.name} that would go away"
            )


def _referring(tx: SqlTransaction, table: Table, key: ForeignKey, pairs: Sequence[Sequence[Any]]) -> list[str]:
    """The keys of the rows that refer by that foreign key to the rows of those keys."""
    other = tx.store.table(key.table)
    sql, parameters = tx.joined(table, table.key_columns, pairs)
    match = " AND ".join(f"o.{tx.quote(a)} = t.{tx.quote(b)}" for a, b in zip(key.columns, key.target_columns, strict=True))
    own = ", ".join(f"o.{tx.quote(name)}" for name in other.key) or "NULL"
    rows = tx.rows_of(f"SELECT {own} FROM {sql} JOIN {other.sql} o ON {match}", parameters)
    return [ref_key([other.tag(cell) for cell in row]) for row in rows]
