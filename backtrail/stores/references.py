"""Rows of others that refer to rows that would go away, or to values that would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backtrail.errors import Referenced
from backtrail.image import Ref
from backtrail.stores.cells import ref_cells, ref_key
from backtrail.stores.tables import ForeignKey, Table

if TYPE_CHECKING:
    from backtrail.stores.writing import SqlTransaction

LISTED = 10
"""How many of the rows that refer are listed."""

Pairs = Sequence[Sequence[Any]]
Own = Mapping[str, Sequence[str]]
"""The keys of the rows that are the job's own, by their tables."""


def by_table(refs: Sequence[Ref]) -> dict[str, list[str]]:
    """The keys of the rows by their tables."""
    found: dict[str, list[str]] = {}
    for ref in refs:
        found.setdefault(ref.table, []).append(ref.key)
    return found


def refuse_references(tx: SqlTransaction, going: Sequence[Ref]) -> None:
    """Nothing, where only rows that go as well refer to the rows that go.

    It also refuses what the database would allow (ON DELETE CASCADE, SET NULL): that would change rows of which the ledger knows nothing.
    So it looks at all of them before the first one goes, and may take others along.

    Raises:
        Referenced: somebody else's row refers to one of them.
    """
    own = by_table(going)
    for name, keys in own.items():
        table = tx.store.table(name)
        if table.incoming:
            _refuse(tx, table, table.incoming, _pairs(keys), own, "would go away")


def refuse_followers(tx: SqlTransaction, table: Table, columns: Sequence[str], keys: Sequence[Sequence[Any]], own: Own) -> None:
    """Nothing, where a change of these columns changes no row of others that refers to them (ON UPDATE CASCADE, SET NULL).

    Args:
        tx: the transaction.
        table: where the rows are.
        columns: those that change.
        keys: of the rows.
        own: rows that the jobs change as well; those may follow.

    Raises:
        Referenced: somebody else's row would follow.
    """
    pairs: Pairs = [(at, *key) for at, key in enumerate(keys)]
    waiting = [(table, columns, pairs)]
    seen: set[tuple[ForeignKey, Ref]] = set()
    while waiting:
        table, columns, pairs = waiting.pop()
        changing = table.changing(columns)
        followed = [key for key in table.incoming if key.follows and not changing.isdisjoint(key.target_columns)]
        if not followed:
            continue
        # What the job's own rows refer by changes as well, and others may follow that.
        for key, refs in _refuse(tx, table, followed, pairs, own, "would change under them"):
            new = dict.fromkeys(ref for ref in refs if (key, ref) not in seen)
            seen.update((key, ref) for ref in new)
            if new:
                waiting.append((tx.store.table(key.table), key.columns, _pairs([ref.key for ref in new])))


def _pairs(keys: Sequence[str]) -> Pairs:
    return [(at, *ref_cells(key)) for at, key in enumerate(keys)]


def _refuse(
    tx: SqlTransaction, table: Table, incoming: Sequence[ForeignKey], pairs: Pairs, own: Own, what: str
) -> list[tuple[ForeignKey, list[Ref]]]:
    """The job's own rows that refer, by each foreign key, to the rows of those keys."""
    if tx.keep_clause:
        # Somebody may be inserting a reference just now: waits for him, and keeps the next one waiting.
        sql, parameters = tx.joined(table, table.key_columns, pairs)
        tx.rows_of(f"SELECT k.column1 FROM {sql} {tx.keep_clause}", parameters)
    found = []
    for key in incoming:
        left = _own_in(tx, tx.store.table(key.table), own)
        refs = [ref for chunk in tx.chunks(pairs) for ref in _referring(tx, table, key, chunk)]
        strangers = [ref for ref in refs if ref.key not in left]
        if strangers:
            raise Referenced(
                f"{len(strangers)} row(s) of {key.table} refer by {', '.join(key.columns)} to rows of {table.name} that {what}"
                f"{_listed(tx, strangers)}",
                strangers,
            )
        found.append((key, refs))
    return found


def _own_in(tx: SqlTransaction, table: Table, own: Own) -> set[str]:
    """The keys of the job's own rows that are read from the table, which may be a part of theirs, or they of it."""
    found = set(own.get(table.name, ()))
    for other in map(tx.store.table, own):
        if other.key == table.key and (table.name in other.wholes or other.name in table.wholes):
            found.update(own[other.name])
    return found


def _listed(tx: SqlTransaction, refs: Sequence[Ref]) -> str:
    """The keys of some of the rows; empty where their table has no key."""
    shown = [tx.store.show_key(ref) for ref in refs[:LISTED] if ref.key]
    return f": {', '.join(shown)}{' …' if len(refs) > len(shown) else ''}" if shown else ""


def _referring(tx: SqlTransaction, table: Table, key: ForeignKey, pairs: Pairs) -> list[Ref]:
    """The rows that refer by that foreign key to the rows of those keys."""
    other = tx.store.table(key.table)
    sql, parameters = tx.joined(table, table.key_columns, pairs)
    # In the database's own order: on SQLite the first column's collation decides.
    match = " AND ".join(f"t.{tx.quote(b)} = o.{tx.quote(a)}" for a, b in zip(key.columns, key.target_columns, strict=True))
    own = ", ".join(column.read(f"o.{tx.quote(column.name)}") for column in other.key_columns)
    order = f" ORDER BY {', '.join(f'o.{tx.quote(name)}' for name in other.key)}" if own else ""
    rows = tx.rows_of(f"SELECT {own or 'NULL'} FROM {sql} JOIN {other.sql} o ON {match}{order}", parameters)
    return [Ref(other.name, ref_key([other.tag(cell) for cell in row]) if own else "") for row in rows]
