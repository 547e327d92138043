"""SQLite: who holds a unique value, by what the error says of the constraint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backtrail.errors import Quarantine, clash
from backtrail.stores.base import Write
from backtrail.stores.tables import Table
from backtrail.stores.taken import holders

if TYPE_CHECKING:
    from backtrail.stores.sqlite.transaction import SqliteTransaction


def taken(tx: SqliteTransaction, error: Exception, writes: Sequence[Write]) -> Quarantine | None:
    """Who holds the unique value that the writes need, where the error says that somebody does."""
    found = re.match(r"UNIQUE constraint failed: (index ')?(.+)", str(error))
    if found is None:
        return None
    if found[1]:
        index = found[2].removesuffix("'")
        sql = "SELECT tbl_name FROM sqlite_master WHERE type = 'index' AND name = ?"
        on = "".join(row[0] for row in tx.raw.execute(sql, (index,)).fetchall())
        return clash(f"{on}: what must be unique by {index} is held by another row; change or delete that first")
    for table in map(tx.store.table, dict.fromkeys(write.table for write in writes)):
        # Names are not quoted here, and may hold dots and commas.
        columns = found[2].removeprefix(f"{table.name}.").split(f", {table.name}.")
        if found[2].startswith(f"{table.name}.") and table.by_name.keys() >= {*columns}:
            expressions = [tx.quote(column) for column in columns]
            return holders(tx, table, ", ".join(columns), expressions, _condition(tx, table, columns), writes)
    return None


def _condition(tx: SqliteTransaction, table: Table, columns: Sequence[str]) -> str:
    """Which rows the partial index over the columns is about; empty where there is none."""
    sql = "SELECT m.sql, group_concat(i.name) FROM pragma_index_list(?) l JOIN sqlite_master m ON m.name = l.name, pragma_index_info(l.name) i"
    rows = tx.raw.execute(f'{sql} WHERE l.partial AND l."unique" GROUP BY l.name', (table.name,)).fetchall()
    found = [
        re.split(r"\bwhere\b", text, maxsplit=1, flags=re.IGNORECASE)[-1] for text, names in rows if names == ",".join(columns)
    ]
    return found[0] if found else ""
