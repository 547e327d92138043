"""One transaction on an SQL database, its reading: a whole batch at once.

Rows are found by joining with `k`, a small table of the values looked for, whose columns are called column1, column2 … (the names
that SQLite gives to the columns of VALUES). column1 is always the position of what the row was looked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy.engine import Connection

from backtrail.errors import Retry, SchemaChanged
from backtrail.image import Image, Ref, join_cells, split_cells
from backtrail.keys import key_text
from backtrail.migration import Invariant, Keys, Rows
from backtrail.stores.base import Earlier, Rowsets, Transaction
from backtrail.stores.cells import ref_cells, show_cell, untag
from backtrail.stores.tables import Column, Table

if TYPE_CHECKING:
    from backtrail.stores.sql import SqlStore

Cells = Sequence[Any]
T = TypeVar("T")


class SqlReading(Transaction):
    """The part of a transaction that reads."""

    same: ClassVar[str]
    """The operator that finds NULL equal to NULL."""
    join: ClassVar[str]
    """How `k` is joined, so that it drives the join."""
    lock_clause: ClassVar[str]
    nulls_first: ClassVar[bool]
    keep_clause: ClassVar[str] = ""
    """How rows are locked so that nobody can come to refer to them."""

    def __init__(self, store: SqlStore, connection: Connection) -> None:
        self.store = store
        self.connection = connection

    def quote(self, name: str) -> str:
        """The quoted identifier."""
        return self.store.quote(name)

    # -- what each database does its own way ----------------------------------------------------------------------

    @abstractmethod
    def rows_of(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The exact cells that a statement returns."""

    def verbatim(self, sql: str) -> str:
        """Somebody else's SQL as part of a statement with parameters."""
        return sql

    @abstractmethod
    def values(self, rows: Sequence[Cells]) -> tuple[str, list[Any]]:
        """The table `k` of the rows as SQL, with its parameters. The first column holds integers."""

    @abstractmethod
    def cast(self, expression: str, column: Column) -> str:
        """The expression, a value of `k`, as a value of the column's type."""

    @abstractmethod
    def binary(self, expression: str) -> str:
        """The expression in binary order, for columns under whose collation different values are equal."""

    # -- reading --------------------------------------------------------------------------------------------------

    def read(
        self,
        reads: Sequence[Rows],
        keys: Sequence[Any],
        *,
        lock: bool,
        sources: Sequence[Keys] = (),
        earlier: Sequence[Earlier] = (),
    ) -> list[Rowsets]:
        found: list[Rowsets] = [{} for _ in keys]
        locked: list[tuple[Table, Sequence[Column], Sequence[Cells], int]] = []
        for rows in reads:
            table = self.store.table(rows.table)
            names = table.names if rows.columns is None else _in_order(table, {*table.key, *rows.by, *rows.columns})
            by = [table.by_name[name] for name in rows.by]
            pairs = list(self._pairs(rows, by, keys, found))
            whole = lock and rows.columns is None
            cells = self.join_rows(table, names, by, pairs, lock=whole) if pairs else []
            if whole and pairs and self.lock_clause:
                locked.append((table, by, pairs, len(cells)))
            groups = _grouped(table, names, rows, cells, len(keys))
            if rows.via is None and rows.key is None and any(column.folds for column in by):
                self._leave_to_others(sources, by, keys, groups)
            if any(ref.table == rows.table for images in earlier for ref in images):
                wanted = grouped_by(pairs, itemgetter(0))
                groups = [
                    self._as_earlier(table, names, rows, group, images, [pair[1:] for pair in wanted.get(at, ())])
                    for at, (group, images) in enumerate(zip(groups, earlier, strict=True))
                ]
            for rowsets, records in zip(found, groups, strict=True):
                rowsets[rows.name] = records
        if locked:
            self._refuse_latecomers(locked)
        return found

    def _refuse_latecomers(self, locked: Sequence[tuple[Table, Sequence[Column], Sequence[Cells], int]]) -> None:
        """Nothing, where the rows that were read one table after the other, and locked, were all there at one moment.

        Locks hold what is there; what somebody adds meanwhile would make a state that never was, half of it old.

        Raises:
            Retry: a row was added between the first read and now.
        """
        counts, parameters = [], []
        for table, by, pairs, _ in locked:
            sql, more = self.joined(table, by, pairs)
            counts.append(f"(SELECT count(*) FROM {sql})")
            parameters += more
        (now,) = self.rows_of(f"SELECT {', '.join(counts)}", parameters)
        if [int(count) for count in now] != [count for *_, count in locked]:
            raise Retry("rows were added while the entities were read")

    def _as_earlier(
        self, table: Table, names: Sequence[str], rows: Rows, records: list[Any], earlier: Earlier, wanted: Sequence[Cells]
    ) -> list[Any]:
        """The records with those of known past as they were then; a row that was not there goes, one that is gone comes back."""
        from backtrail.stores.sql import SqlRecord

        if not table.key:
            return records  # such a table is never written
        live = {record.ref: record for record in records}
        layout = table.layout(tuple(names), 1)
        by = [table.by_name[name] for name in rows.by]
        kept = [record for ref, record in live.items() if ref not in earlier]
        for ref, image in earlier.items():
            if ref.table != table.name or image is None:
                continue
            then = {name: untag(cell) for name, cell in zip(image.shape.names, split_cells(image.data), strict=True)}
            # A column that was added since is as it is now.
            row = [then[name] if name in then else live[ref].cell(name) if ref in live else None for name in names]
            record = SqlRecord(layout, (None, *row), rows.columns is None)
            own = [record.cell(column.name) for column in by]
            if any(all(map(_equal, by, own, cells)) for cells in wanted):
                kept.append(record)
        return sorted(kept, key=lambda record: layout.order(record.cells))

    def _leave_to_others(
        self, sources: Sequence[Keys], by: Sequence[Column], keys: Sequence[Any], groups: list[list[Any]]
    ) -> None:
        """Takes away rows that hold another spelling of the key, where that spelling is an entity of its own."""
        names = [column.name for column in by]
        own = [key_text(key if isinstance(key, tuple) else (key,)) for key in keys]
        spelled = [[tuple(record.cell(name) for name in names) for record in group] for group in groups]
        strange = {
            cells for text, rows in zip(own, spelled, strict=True) for cells in rows if key_text(_key_of(by, cells)) != text
        }
        if not strange:
            return
        others = self._keys_spelled(sources, list(strange))
        for text, rows, group in zip(own, spelled, groups, strict=True):
            pairs = zip(group, rows, strict=True)
            group[:] = [record for record, cells in pairs if cells not in others or key_text(_key_of(by, cells)) == text]

    def _keys_spelled(self, sources: Sequence[Keys], spellings: Sequence[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
        """Those of the spellings, cell by cell, that are keys of one of the sources."""
        found: set[tuple[Any, ...]] = set()
        for one in sources:
            if one.key is not None:
                continue
            table = self.store.table(one.table)
            columns = [table.by_name[name] for name in one.columns]
            condition, more = self.store.where(table, one)
            named = ", ".join(f"t.{self.quote(name)}" for name in one.columns)
            terms = ", ".join(self._terms(table, one.columns))
            for chunk in self.chunks([(at, *spelling) for at, spelling in enumerate(spellings)]):
                sql, parameters = self.joined(table, columns, chunk)
                found |= set(self.rows_of(f"SELECT {named} FROM {sql} WHERE {condition} GROUP BY {terms}", [*parameters, *more]))
        return found.intersection(spellings)

    def _pairs(self, rows: Rows, by: Sequence[Column], keys: Sequence[Any], found: list[Rowsets]) -> Iterator[Cells]:
        if rows.via is None:
            for at, key in enumerate(keys):
                value = key if rows.key is None else rows.key(key)
                parts = value if isinstance(value, tuple) else (value,)
                if len(parts) != len(by):
                    raise SchemaChanged(
                        f"Rows({rows.table!r}) finds rows by {len(by)} columns, and the key has {len(parts)} values"
                    )
                yield (at, *(None if part is None else column.encode(part) for column, part in zip(by, parts, strict=True)))
            return
        name, column = rows.via
        for at, rowsets in enumerate(found):
            cells = dict.fromkeys(record.cell(column) for record in rowsets[name])  # type: ignore[attr-defined] # our own records
            yield from ((at, cell) for cell in cells if cell is not None)

    def join_rows(
        self, table: Table, names: Sequence[str], by: Sequence[Column], pairs: Sequence[Cells], *, lock: bool
    ) -> list[tuple[Any, ...]]:
        """The position and the named cells of every row whose columns equal one of the pairs."""
        columns = ", ".join(table.by_name[name].read(f"t.{self.quote(name)}") for name in names)
        clause = f" {self.lock_clause}" if lock and self.lock_clause and table.lockable else ""
        return [
            row
            for chunk in self.chunks(pairs)
            for sql, parameters in [self.joined(table, by, chunk)]
            for row in self.rows_of(f"SELECT k.column1, {columns} FROM {sql}{clause}", parameters)
        ]

    def joined(self, table: Table, by: Sequence[Column], pairs: Sequence[Cells], alias: str = "t") -> tuple[str, list[Any]]:
        values, parameters = self.values(self.unmarked(by, pairs))
        return f"{values} {self.join} {table.sql} {alias} ON {self.equal(by, pairs, alias)}", parameters

    def equal(self, by: Sequence[Column], pairs: Sequence[Cells], alias: str) -> str:
        """The condition that a row's columns equal those of a pair."""
        conditions = []
        for at, column in enumerate(by):
            operator = self.same if any(pair[at + 1] is None for pair in pairs) else "="
            conditions.append(f"{alias}.{self.quote(column.name)} {operator} {self.cast(f'k.column{at + 2}', column)}")
        return " AND ".join(conditions)

    def unmarked(self, columns: Sequence[Column], rows: Sequence[Cells]) -> Sequence[Cells]:
        """The rows, whose cells after the first are of those columns, as they can be compared in SQL."""
        return rows

    chunk: ClassVar[int] = 1_000_000

    def chunks(self, rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return (rows[at : at + self.chunk] for at in range(0, len(rows), self.chunk))

    def images(self, table: Table, pairs: Sequence[Cells], *, lock: bool) -> Iterator[tuple[int, str, Image]]:
        """The position, the key's text and the image of every row whose primary key equals one of the pairs."""
        key = table.layout(table.names, 1).key
        for cells in self.join_rows(table, table.names, table.key_columns, pairs, lock=lock):
            yield int(cells[0]), key(cells), Image(table.shape, join_cells(table.tag_all(cells[1:])))

    def fetch(self, refs: Iterable[Ref], *, lock: bool) -> dict[Ref, Image]:
        found: dict[Ref, Image] = {}
        for name, of_table in grouped_by(refs, attrgetter("table")).items():
            table = self.store.table(name)
            pairs = [(at, *ref_cells(ref.key)) for at, ref in enumerate(of_table)]
            for at, key, image in self.images(table, pairs, lock=lock):
                ref = of_table[at]
                if key == ref.key:  # another spelling that counts as equal is another row
                    found[ref] = image
        return found

    def violations(self, invariant: Invariant, limit: int) -> list[str]:
        rows = self.rows_of(self.verbatim(str(invariant.query)))
        return [", ".join(str(show_cell(cell)) for cell in row) for row in rows[:limit]]

    # -- keys -----------------------------------------------------------------------------------------------------

    def count(self, table: Table, columns: tuple[str, ...], condition: str, parameters: Sequence[Any], unique: bool) -> int:
        """The number of distinct keys."""
        terms = ", ".join(self._terms(table, columns))
        some = self._some(columns)
        inner = f"FROM {table.sql} t WHERE {condition} AND {some}"
        sql = f"SELECT count(*) {inner}" if unique else f"SELECT count(*) FROM (SELECT 1 {inner} GROUP BY {terms}) q"
        return int(self.rows_of(sql, parameters)[0][0])

    def count_null(self, table: Table, keys: Keys, where: tuple[str, list[Any]]) -> int:
        """The number of rows that have no key."""
        if all(not table.by_name[name].nullable for name in keys.columns):
            return 0
        condition, parameters = where
        sql = f"SELECT count(*) FROM {table.sql} t WHERE {condition} AND NOT {self._some(keys.columns)}"
        return int(self.rows_of(sql, parameters)[0][0])

    def page(
        self,
        table: Table,
        columns: tuple[str, ...],
        condition: str,
        parameters: Sequence[Any],
        unique: bool,
        last: Cells | None,
        limit: int,
    ) -> list[tuple[Any, ...]]:
        """The cells of the next distinct keys, in the order of the column's own index."""
        terms = self._terms(table, columns)
        named = ", ".join(self._key_read(table.by_name[name]) for name in columns)
        after, more = ("", []) if last is None else self._after(table, columns, last)
        group = "" if unique else f"GROUP BY {', '.join(terms)} "
        sql = f"SELECT {named} FROM {table.sql} t WHERE {condition} AND {self._some(columns)}{after} {group}ORDER BY {', '.join(terms)} LIMIT {int(limit)}"
        return self.rows_of(sql, [*parameters, *more])

    def _key_read(self, column: Column) -> str:
        # What has a binary form behind it equals what has none, and only rows tell them apart.
        sql = f"t.{self.quote(column.name)}"
        return sql if column.marked else column.read(sql)

    def equal_keys(
        self, table: Table, columns: Sequence[Column], wanted: Mapping[int, Cells], condition: str, parameters: Sequence[Any]
    ) -> Iterator[tuple[int, list[Any]]]:
        """The position and the cells of each different key that is equal to a wanted one."""
        names = [column.name for column in columns]
        named = ", ".join(map(self._key_read, columns))
        group = "" if table.is_unique(names) else f" GROUP BY k.column1, {', '.join(self._terms(table, names))}"
        for chunk in self.chunks([(at, *cells) for at, cells in wanted.items()]):
            sql, more = self.joined(table, columns, chunk)
            for at, *cells in self.rows_of(
                f"SELECT k.column1, {named} FROM {sql} WHERE {condition}{group}", [*more, *parameters]
            ):
                yield int(at), cells

    def _some(self, columns: Sequence[str]) -> str:
        """That not all of the columns are NULL."""
        return "(" + " OR ".join(f"t.{self.quote(name)} IS NOT NULL" for name in columns) + ")"

    def _terms(self, table: Table, columns: Sequence[str]) -> list[str]:
        # A case-insensitive column is ordered by its own collation first, so that its index serves, and then by its bytes, so that
        # no two different values are one key.
        terms = []
        for name in columns:
            sql = f"t.{self.quote(name)}"
            terms += [sql, self.binary(sql)] if table.by_name[name].folds else [sql]
        return terms

    def _after(self, table: Table, columns: tuple[str, ...], last: Cells) -> tuple[str, list[Any]]:
        """The condition that a key comes after the last one in the order of `_terms`, and its parameters."""
        expressions: list[tuple[str, Any, str, bool]] = []
        for name, cell in zip(columns, last, strict=True):
            column = table.by_name[name]
            nullable = column.nullable and len(columns) > 1
            expressions.append((f"t.{self.quote(name)}", cell, self.store.mark(column), nullable))
            if column.folds:
                expressions.append(
                    (self.binary(f"t.{self.quote(name)}"), cell, "%s" if self.store.kind == "postgres" else "?", nullable)
                )
        if len(expressions) > 1 and not any(nullable for *_, nullable in expressions) and None not in last:
            left = ", ".join(sql for sql, *_ in expressions)
            right = ", ".join(mark for *_, mark, _ in expressions)
            return f" AND ({left}) > ({right})", [cell for _, cell, *_ in expressions]
        sql, parameters = self._lexicographic(expressions)
        return f" AND ({sql})", parameters

    def _lexicographic(self, expressions: Sequence[tuple[str, Any, str, bool]]) -> tuple[str, list[Any]]:
        (sql, cell, mark, nullable), rest = expressions[0], expressions[1:]
        if cell is None:
            greater, parameters = (f"{sql} IS NOT NULL", []) if self.nulls_first else ("1 = 0", [])
            equal, same = f"{sql} IS NULL", []
        else:
            greater, parameters = f"{sql} > {mark}", [cell]
            if nullable and not self.nulls_first:
                greater = f"({greater} OR {sql} IS NULL)"
            equal, same = f"{sql} = {mark}", [cell]
        if not rest:
            return greater, parameters
        inner, more = self._lexicographic(rest)
        return f"{greater} OR ({equal} AND ({inner}))", [*parameters, *same, *more]


def _equal(column: Column, left: Any, right: Any) -> bool:
    """Whether the database would find the cells equal."""
    if left is None or right is None:
        return left is right
    if left == right:
        return True
    one, other = column.decode(left), column.decode(right)
    return bool(one == other) or (column.folds and str(one).casefold() == str(other).casefold())


def _key_of(columns: Sequence[Column], cells: Cells) -> tuple[Any, ...]:
    return tuple(None if cell is None else column.key(cell) for column, cell in zip(columns, cells, strict=True))


def _grouped(table: Table, names: Sequence[str], rows: Rows, found: Sequence[Cells], number: int) -> list[list[Any]]:
    """The records of each of so many entities, in binary primary-key order; each row begins with its entity's position."""
    from backtrail.stores.sql import SqlRecord

    groups: list[list[Cells]] = [[] for _ in range(number)]
    layout = table.layout(tuple(names), 1)
    for cells in found:
        groups[int(cells[0])].append(cells)
    for group in groups:
        if len(group) > 1:
            group.sort(key=layout.order)
            if rows.via is not None and table.key:
                group[:] = _distinct(group, layout.key)
    whole = rows.columns is None
    return [[SqlRecord(layout, cells, whole) for cells in group] for group in groups]


def _in_order(table: Table, names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in table.names if name in names)


def grouped_by(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """The items by what the function makes of each, in the order in which they come."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _distinct(rows: Sequence[Cells], key: Callable[[Cells], str]) -> list[Cells]:
    seen: dict[str, Cells] = {}
    for cells in rows:
        seen.setdefault(key(cells), cells)
    return list(seen.values())
