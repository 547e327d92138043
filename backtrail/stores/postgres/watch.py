"""PostgreSQL's own counters of written rows, compared with what was asked for.

The counters hold every row that this session's triggers, rules and cascades write, by table. They do not say which rows; a row that was
asked for and was then written again by a trigger is known by its command number, which is not that of our statement any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from backtrail.errors import Halt
from backtrail.image import Ref
from backtrail.stores.cells import ref_cells
from backtrail.stores.tables import Table
from backtrail.stores.watch import Action, Watch

if TYPE_CHECKING:
    from backtrail.stores.postgres.transaction import PostgresTransaction

WRITTEN = """
WITH s AS MATERIALIZED (
    SELECT relid, n_tup_ins i, n_tup_upd u, n_tup_del d FROM pg_stat_xact_user_tables
    WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 AND schemaname <> 'backtrail')
SELECT '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"', sum(i), sum(u), sum(d)
FROM s JOIN pg_class c ON c.oid = coalesce(pg_partition_root(relid), (SELECT min(inhparent::int)::oid FROM pg_inherits WHERE inhrelid = relid), relid)
JOIN pg_namespace n ON n.oid = c.relnamespace GROUP BY 1
UNION ALL SELECT NULL, CASE current_setting('track_counts') WHEN 'on' THEN 1 ELSE 0 END, 0, 0
"""

LATE = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.tgname), t.tginitdeferred FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgdeferrable AND NOT t.tgisinternal AND t.tgrelid = ANY(%s::regclass[])
"""

ACTIONS: tuple[Action, ...] = ("insert", "update", "delete")


class PostgresWatch(Watch):
    """Compares the session's counters of written rows with what was asked for."""

    def __init__(self, tx: PostgresTransaction, tables: Sequence[Table]) -> None:
        super().__init__(tables)
        self.tx = tx
        self.names = {_plain(table): table for table in tables}
        self.restart()

    def restart(self) -> None:
        self.asked: Counter[tuple[str, Action]] = Counter()
        self.stamps: dict[Ref, str] = {}
        self.before = self._written()

    def own(self, table: Table, action: Action, number: int, stamps: Mapping[str, str]) -> None:
        self.asked[_plain(table), action] += number
        self.stamps |= {Ref(table.name, key): stamp for key, stamp in stamps.items()}

    def settle(self) -> None:
        tables = [name for name in self.names if self.names[name].triggers]
        for name, later in self.tx.raw.execute(LATE, (tables,)).fetchall():
            self.tx.raw.execute(f"SET CONSTRAINTS {name} IMMEDIATE")
            if later:
                self.tx.raw.execute(f"SET CONSTRAINTS {name} DEFERRED")

    def demand(self, refs: Collection[Ref]) -> None:
        written = self._written()
        more = {at: count - self.before[at] - self.asked[at] for at, count in written.items()}
        strange: Counter[str] = Counter()
        for name in {name for name, _ in more}:
            inserted, updated, deleted = (more.get((name, action), 0) for action in ACTIONS)
            if inserted == deleted == -updated:
                continue  # nothing, or rows that went from one partition to another
            table = self.names.get(name)
            if table is not None and inserted <= 0 and deleted <= 0 and 0 < updated == self._touched_again(table, refs):
                continue
            strange[name.replace('"', "").removeprefix("public.")] += max(0, inserted) + max(0, updated) + max(0, deleted)
        if +strange:
            raise self.refusal(+strange)
        self.restart()

    def close(self) -> None:
        """Counters need no leave."""

    def _written(self) -> Counter[tuple[str, Action]]:
        rows = self.tx.raw.execute(WRITTEN).fetchall()
        if not next(inserted for name, inserted, _, _ in rows if name is None):
            raise Halt(
                "track_counts is off, so that what triggers write cannot be seen: turn it on, for which autovacuum will thank you too"
            )
        return Counter(
            {(name, action): int(count) for name, *counts in rows if name for action, count in zip(ACTIONS, counts, strict=True)}
        )

    def _touched_again(self, table: Table, refs: Collection[Ref]) -> int:
        """How many of the rows a trigger wrote after, or instead of, what was asked for."""
        own = [ref for ref in refs if ref.table == table.name]
        pairs = [(at, *ref_cells(ref.key)) for at, ref in enumerate(own)]
        if not pairs:
            return 0
        sql, parameters = self.tx.joined(table, table.key_columns, pairs)
        rows = self.tx.rows_of(f"SELECT k.column1, t.cmin, t.xmin = pg_current_xact_id()::xid FROM {sql}", parameters)
        return sum(
            self.stamps[ref] != stamp if ref in self.stamps else cast("str", ours) == "t"
            for at, stamp, ours in rows
            for ref in [own[int(at)]]
        )


def _plain(table: Table) -> str:
    return table.sql.replace("%%", "%")
