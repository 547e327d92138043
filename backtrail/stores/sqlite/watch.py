"""SQLite's writes by triggers and foreign keys, recorded row by row by temporary triggers of our own, which only this connection has."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from backtrail.errors import SideEffects
from backtrail.image import Ref
from backtrail.stores.cells import ref_key, tag_stored
from backtrail.stores.tables import Table
from backtrail.stores.watch import Action, Watch

if TYPE_CHECKING:
    from backtrail.stores.sqlite.transaction import SqliteTransaction

LOG = "backtrail_touched"


class SqliteWatch(Watch):
    """Records the key of every row that is written in the tables that a trigger can reach."""

    def __init__(self, tx: SqliteTransaction, tables: Sequence[Table]) -> None:
        super().__init__(tables)
        self.tx = tx
        self.reached = [tx.store.table(name) for name in _reached(tx.raw, tables)]
        self.width = max(len(table.key) for table in self.reached)
        columns = ", ".join(f"k{at}" for at in range(self.width))
        self.close()
        tx.raw.execute(f"CREATE TEMP TABLE {LOG} (name, {columns})")
        for number, table in enumerate(self.reached):
            self._record(number, table)

    def _record(self, number: int, table: Table) -> None:
        for action, rows in (("INSERT", ["NEW"]), ("UPDATE", ["OLD", "NEW"]), ("DELETE", ["OLD"])):
            body = "".join(f"INSERT INTO {LOG} VALUES ({', '.join(self._cells(table, row))});" for row in rows)
            self.tx.raw.execute(
                f"CREATE TEMP TRIGGER {LOG}_{number}_{action} AFTER {action} ON main.{table.sql} BEGIN {body} END"
            )

    def _cells(self, table: Table, row: str) -> list[str]:
        keys = [f"{row}.{self.tx.quote(name)}" for name in table.key]
        name = table.name.replace("'", "''")
        return [f"'{name}'", *keys, *["NULL"] * (self.width - len(keys))]

    def restart(self) -> None:
        self.tx.raw.execute(f"DELETE FROM {LOG}")

    def own(self, table: Table, action: Action, number: int, stamps: Mapping[str, str]) -> None:
        """The rows that were asked for are told by their keys."""

    def settle(self) -> None:
        """SQLite's triggers do not wait."""

    def demand(self, refs: Collection[Ref]) -> None:
        own = set(refs)
        by_name = {table.name: table for table in self.reached}
        strange: Counter[str] = Counter()
        for name, *cells in self.tx.rows_of(f"SELECT DISTINCT * FROM {LOG}"):
            key = [tag_stored(cell) for cell in cells[: len(by_name[name].key)]]
            if not key or Ref(name, ref_key(key)) not in own:
                strange[name] += 1
        if strange:
            raise self.refusal(strange)
        self.restart()

    def close(self) -> None:
        for (name,) in self.tx.raw.execute(
            f"SELECT name FROM sqlite_temp_master WHERE type = 'trigger' AND name LIKE '{LOG}%'"
        ).fetchall():
            self.tx.raw.execute(f"DROP TRIGGER temp.{self.tx.quote(name)}")
        self.tx.raw.execute(f"DROP TABLE IF EXISTS temp.{LOG}")


def _reached(raw: sqlite3.Connection, tables: Sequence[Table]) -> list[str]:
    """The tables that triggers on these can write to, on and on; what a trigger's text does not name, it does not reach.

    Raises:
        SideEffects: one of them is virtual, so that nobody can see what is written there.
    """
    schema = raw.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    ).fetchall()
    names = {name: str(sql) for kind, name, _, sql in schema if kind in ("table", "view") and not name.startswith("backtrail_")}
    kinds = {name: kind for kind, name, _, _ in schema}
    triggers = [(on.lower(), name, sql.lower()) for kind, name, on, sql in schema if kind == "trigger"]
    referring = _referring(raw)
    reached: list[str] = []
    waiting = [table.name for table in tables]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.append(name)
        texts = [text for on, _, text in triggers if on == name.lower()]
        waiting += [other for other in names if any(_names(text, other.lower()) for text in texts)]
        waiting += referring(name)
    for name in reached:
        if names[name].lower().startswith("create virtual"):
            raise SideEffects(
                f"a trigger writes to the virtual table {name}, and the ledger would not hold that: drop the trigger while this runs"
            )
    return [name for name in reached if kinds[name] == "table"]


def _names(text: str, name: str) -> bool:
    """Whether the trigger's text has the name as a word; a comment or a column of that name counts, which does no harm."""
    return name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _referring(raw: sqlite3.Connection) -> Callable[[str], list[str]]:
    sql = "SELECT lower(f.\"table\"), m.name FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
    pairs = raw.execute(sql).fetchall()
    return lambda name: [other for target, other in pairs if target == name.lower()]
