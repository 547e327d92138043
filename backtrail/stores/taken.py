"""Who holds a unique value that somebody else needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backtrail.errors import ConstraintFailed, clash
from backtrail.image import Ref
from backtrail.stores.base import Write
from backtrail.stores.cells import ref_cells, ref_key
from backtrail.stores.tables import Table

if TYPE_CHECKING:
    from backtrail.stores.writing import SqlTransaction

LISTED = 10
"""How many of the rows are listed."""


def holders(
    tx: SqlTransaction, table: Table, name: str, expressions: Sequence[str], condition: str, writes: Sequence[Write]
) -> ConstraintFailed:
    """The refusal that names the constraint, and the keys of the rows that hold what one of the writes needs.

    Args:
        tx: where to look.
        table: whose constraint it is.
        name: of the constraint, or its columns.
        expressions: what must be unique, in terms of the table's columns.
        condition: which rows it is about; empty for all.
        writes: those that need the values.
    """
    of_table = [write for write in writes if write.table == table.name]
    own = {write.ref for write in of_table}
    found = dict.fromkeys(
        ref for write in of_table if write.op != "delete" for ref in _found(tx, table, expressions, condition, write)
    )
    others = [ref for ref in found if ref not in own]
    shown = ", ".join(tx.store.show_key(ref) for ref in others[:LISTED])
    who = (
        f"by {len(others)} row(s) of {table.name} now: {shown}{' …' if len(others) > LISTED else ''}"
        if others
        else "by another row"
    )
    return clash(f"{table.name}: what must be unique by {name} is held {who}; change or delete that first")


def _found(tx: SqlTransaction, table: Table, expressions: Sequence[str], condition: str, write: Write) -> list[Ref]:
    """The rows that hold what the write needs."""
    sent = dict(zip(write.columns, write.cells, strict=True))
    names = [name for name in sent if type(sent[name]) in (str, int, float, bytes, type(None))]
    key = [] if write.ref is None else ref_cells(write.ref.key)
    source, parameters = tx.values([(0, *[sent[name] for name in names], *key)])
    columns = []
    for column in table.columns:
        if column.name in names:
            columns.append(f"{tx.cast(f'k.column{names.index(column.name) + 2}', column)} AS {tx.quote(column.name)}")
        else:
            old = "NULL" if write.ref is None else f"o.{tx.quote(column.name)}"
            columns.append(f"{tx.cast(old, column)} AS {tx.quote(column.name)}")
    joined = source
    if write.ref is not None:
        at = len(names) + 2
        match = " AND ".join(
            f"o.{tx.quote(column.name)} = {tx.cast(f'k.column{at + place}', column)}"
            for place, column in enumerate(table.key_columns)
        )
        joined = f"{source} LEFT JOIN {table.sql} o ON {match}"
    where = f" WHERE {condition}" if condition else ""
    wanted = ", ".join(f"{expression} AS e{at}" for at, expression in enumerate(expressions))
    # Everything has a name of ours: a column of the table may be called e0.
    keys = ", ".join(f"{tx.quote(name)} AS k{at}" for at, name in enumerate(table.key))
    same = " AND ".join(f"h.e{at} = w.e{at}" for at in range(len(expressions)))
    h_keys = ", ".join(column.read(f"h.k{at}") for at, column in enumerate(table.key_columns))
    rows = tx.rows_of(
        f"SELECT {h_keys} FROM (SELECT {wanted} FROM (SELECT {', '.join(columns)} FROM {joined}) s{where}) w"
        f" JOIN (SELECT {keys}, {wanted} FROM {table.sql}{where}) h ON {same}",
        parameters,
    )
    return [Ref(table.name, ref_key([table.tag(cell) for cell in row])) for row in rows]
