"""One transaction on an SQL database: a whole batch read at once, written at once, and read back.

Rows are found by joining with `k`, a small table of the values looked for, whose columns are called column1, column2 … (the names
that SQLite gives to the columns of VALUES). column1 is always the position of what the row was looked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy.engine import Connection

from backtrail.entity import NewRow
from backtrail.errors import BadValue, Retry, SchemaChanged
from backtrail.image import Image, Ref, Written, join_cells, split_cells
from backtrail.keys import key_text
from backtrail.migration import Invariant, Keys, Rows
from backtrail.stores.base import Earlier, Put, Rowsets, Transaction, Write
from backtrail.stores.cells import ref_cells, ref_key, show_cell, untag
from backtrail.stores.references import refuse_references
from backtrail.stores.tables import Column, Table

if TYPE_CHECKING:
    from backtrail.stores.sql import SqlStore

Cells = Sequence[Any]
T = TypeVar("T")


class SqlTransaction(Transaction):
    """A transaction behind an SQLAlchemy connection."""

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

    @abstractmethod
    def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> None:
        """Nothing; the rows are in the table."""

    @abstractmethod
    def insert_one(self, table: Table, columns: Sequence[str], row: Cells) -> list[Any]:
        """The key cells that the database gave the row that was inserted."""

    @abstractmethod
    def update(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Cells, Cells]]) -> None:
        """Nothing; each row, by the cells of its key, has the new cells."""

    @abstractmethod
    def delete(self, table: Table, keys: Sequence[Cells]) -> None:
        """Nothing; the rows of those keys are gone."""

    @abstractmethod
    def spare(self, column: Column, number: int) -> Any:
        """A value that the column hardly holds anywhere, another for every number."""

    @abstractmethod
    def defer(self) -> None:
        """Nothing; what can wait for the commit to be checked does."""

    @abstractmethod
    def draw_keys(self, table: Table, columns: Sequence[str], number: int) -> list[Cells] | None:
        """Values for key columns that a row leaves out, taken from their defaults; None where only an insert gives them."""

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
                wanted = _by(pairs, itemgetter(0))
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
        positions = {name: at + 1 for at, name in enumerate(names)}
        by = [table.by_name[name] for name in rows.by]
        kept = [record for ref, record in live.items() if ref not in earlier]
        for ref, image in earlier.items():
            if ref.table != table.name or image is None:
                continue
            then = {name: untag(cell) for name, cell in zip(image.shape.names, split_cells(image.data), strict=True)}
            # A column that was added since is as it is now.
            row = [then[name] if name in then else live[ref].cell(name) if ref in live else None for name in names]
            record = SqlRecord(table, (None, *row), positions, rows.columns is None)
            own = [record.cell(column.name) for column in by]
            if any(all(map(_equal, by, own, cells)) for cells in wanted):
                kept.append(record)
        return sorted(kept, key=key_order(table, positions))

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
        columns = ", ".join(f"t.{self.quote(name)}" for name in names)
        clause = f" {self.lock_clause}" if lock and self.lock_clause and table.lockable else ""
        return [
            row
            for chunk in self.chunks(pairs)
            for sql, parameters in [self.joined(table, by, chunk)]
            for row in self.rows_of(f"SELECT k.column1, {columns} FROM {sql}{clause}", parameters)
        ]

    def joined(self, table: Table, by: Sequence[Column], pairs: Sequence[Cells], alias: str = "t") -> tuple[str, list[Any]]:
        values, parameters = self.values(pairs)
        conditions = []
        for at, column in enumerate(by):
            operator = self.same if any(pair[at + 1] is None for pair in pairs) else "="
            conditions.append(f"{alias}.{self.quote(column.name)} {operator} {self.cast(f'k.column{at + 2}', column)}")
        return f"{values} {self.join} {table.sql} {alias} ON {' AND '.join(conditions)}", parameters

    chunk: ClassVar[int] = 1_000_000

    def chunks(self, rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return (rows[at : at + self.chunk] for at in range(0, len(rows), self.chunk))

    def fetch(self, refs: Iterable[Ref], *, lock: bool) -> dict[Ref, Image]:
        images: dict[Ref, Image] = {}
        for name, of_table in _by(refs, lambda ref: ref.table).items():
            table = self.store.table(name)
            pairs = [(at, *ref_cells(ref.key)) for at, ref in enumerate(of_table)]
            for cells in self.join_rows(table, table.names, table.key_columns, pairs, lock=lock):
                ref = of_table[int(cells[0])]
                if _ref(table, cells[1:]) == ref:  # another spelling that counts as equal is another row
                    images[ref] = _image(table, cells[1:])
        return images

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
        named = ", ".join(f"t.{self.quote(name)}" for name in columns)
        after, more = ("", []) if last is None else self._after(table, columns, last)
        group = "" if unique else f"GROUP BY {', '.join(terms)} "
        sql = f"SELECT {named} FROM {table.sql} t WHERE {condition} AND {self._some(columns)}{after} {group}ORDER BY {', '.join(terms)} LIMIT {int(limit)}"
        return self.rows_of(sql, [*parameters, *more])

    def positions(
        self, table: Table, columns: Sequence[Column], pairs: Sequence[Cells], condition: str, parameters: Sequence[Any]
    ) -> set[int]:
        """The positions of those of the pairs that some row has."""
        found: set[int] = set()
        for chunk in self.chunks(pairs):
            sql, more = self.joined(table, columns, chunk)
            rows = self.rows_of(f"SELECT DISTINCT k.column1 FROM {sql} WHERE {condition}", [*more, *parameters])
            found.update(int(row[0]) for row in rows)
        return found

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

    # -- writing --------------------------------------------------------------------------------------------------

    def apply(self, writes: Sequence[Write], *, ordered: bool = False) -> list[Written]:
        return self._written(writes, self._carried_out(self._apply, writes, ordered=ordered))

    def _carried_out(self, carry_out: Callable[..., T], writes: Sequence[Write], *, ordered: bool) -> T:
        """What carrying out the writes gives; in their own order, also where two rows exchange a unique value."""
        if not ordered:
            return carry_out(writes, ordered=False)
        self.defer()
        try:
            with self.connection.begin_nested():
                return carry_out(writes, ordered=True)
        except self.duplicate:
            self._set_aside(writes)
            return carry_out(writes, ordered=True)

    def _set_aside(self, writes: Sequence[Write]) -> None:
        """Takes values that must be unique out of each other's way, before each goes to its new place."""
        for number, write in enumerate(writes):
            table = self.store.table(write.table)
            columns = [table.by_name[name] for name in write.columns if any(name in unique for unique in table.unique)]
            if write.op == "update" and columns:
                cells = [None if column.nullable else self.spare(column, number) for column in columns]
                self.update(table, [column.name for column in columns], [(ref_cells(_known(write.ref).key), cells)])

    def _apply(self, writes: Sequence[Write], *, ordered: bool) -> dict[int, Cells]:
        """The keys of the new rows."""
        given = {id(write.row): key for write in writes if write.op == "create" and (key := self._sent_key(write)) is not None}
        going = [_known(write.ref) for write in writes if write.op == "delete"]
        # A new row whose key is still to be given comes before those that use it, whether or not a foreign key says so.
        awaited = {
            (write.table, cell.table)
            for write in writes
            if NewRow in map(type, write.cells)
            for cell in write.cells
            if type(cell) is NewRow and id(cell) not in given and cell.table != write.table
        }
        for group in self._groups(writes, ordered=ordered, used=frozenset(awaited)):
            table = self.store.table(group[0].table)
            match group[0].op:
                case "create":
                    self._create(table, group, given)
                case "update":
                    keyed = [(ref_cells(_known(write.ref).key), self._resolve(write.cells, given)) for write in group]
                    self.update(table, group[0].columns, keyed)
                case "delete":
                    refuse_references(self, going)
                    going = []
                    self.delete(table, [ref_cells(_known(write.ref).key) for write in group])
        return given

    def _sent_key(self, write: Write) -> Cells | None:
        """The key of a new row that does not wait for the database or another new row to give it."""
        key = [write.cells[write.columns.index(name)] for name in self.store.table(write.table).key if name in write.columns]
        whole = len(key) == len(self.store.table(write.table).key) and not any(type(cell) is NewRow for cell in key)
        return key if whole else None

    def _groups(
        self, items: Sequence[Write], *, ordered: bool, used: frozenset[tuple[str, str]] = frozenset()
    ) -> Iterator[list[Write]]:
        """The writes in groups that one statement can carry out: one by one as given, or by kind and along the foreign keys."""
        if ordered:
            yield from ([item] for item in items)
            return
        tables = self.store.tables_in_order(frozenset(item.table for item in items), used)
        groups = _by(items, lambda item: (item.op, item.table, item.columns))
        for name in ("create", "update", "delete"):
            for table in reversed(tables) if name == "delete" else tables:
                yield from (group for (of, at, _), group in groups.items() if of == name and at == table)

    def _create(self, table: Table, group: Sequence[Write], given: dict[int, Cells]) -> None:
        columns = group[0].columns
        missing = [name for name in table.key if name not in columns]
        if not missing:
            rows = []
            at_key = [columns.index(name) for name in table.key]
            for write in group:
                # One at a time: a row may refer to a row before it in this very group.
                cells = self._resolve(write.cells, given)
                given[id(write.row)] = [cells[at] for at in at_key]
                rows.append(cells)
            self.insert(table, columns, rows)
            return
        drawn = self.draw_keys(table, missing, len(group))
        if drawn is None:
            for write in group:
                given[id(write.row)] = self.insert_one(table, columns, self._resolve(write.cells, given))
            return
        rows = []
        names = (*columns, *missing)
        for write, more in zip(group, drawn, strict=True):
            cells = [*self._resolve(write.cells, given), *more]
            given[id(write.row)] = [cells[names.index(name)] for name in table.key]
            rows.append(cells)
        self.insert(table, names, rows)

    def _resolve(self, cells: Cells, given: dict[int, Cells]) -> list[Any]:
        if NewRow not in map(type, cells):
            return list(cells)
        return [self._key_of(cell, given) if type(cell) is NewRow else cell for cell in cells]

    @staticmethod
    def _key_of(row: NewRow, given: dict[int, Cells]) -> Any:
        key = given.get(id(row))
        if key is None:
            raise BadValue(
                f"a new row of {row.table} is used as a value before it is created: create it first, or, where two new rows refer"
                " to each other, give one of them a key of its own (entity.new_uuid)"
            )
        if len(key) != 1:
            raise BadValue(f"a new row of {row.table} has a key of {len(key)} columns and cannot stand as one value")
        return key[0]

    def _written(self, writes: Sequence[Write], given: dict[int, Cells]) -> list[Written]:
        after: dict[int, tuple[Ref, Image]] = {}
        for write in writes:
            if write.op == "create" and None in given[id(write.row)]:
                raise BadValue(f"a new row of {write.table} has NULL in its key, so that it could not be told from another")
        standing = [write for write in writes if write.op != "delete"]
        for name, group in _by(standing, lambda write: write.table).items():
            table = self.store.table(name)
            keys = [given[id(write.row)] if write.op == "create" else ref_cells(_known(write.ref).key) for write in group]
            pairs = [(at, *key) for at, key in enumerate(keys)]
            for cells in self.join_rows(table, table.names, table.key_columns, pairs, lock=False):
                at, ref = int(cells[0]), _ref(table, cells[1:])
                # The database may store another key than was sent; but a key that is there as it was sent is the one.
                if id(group[at]) not in after or ref.key == ref_key([table.tag(cell) for cell in keys[at]]):
                    after[id(group[at])] = ref, _image(table, cells[1:])
        return [self._one_written(write, after.get(id(write))) for write in writes]

    @staticmethod
    def _one_written(write: Write, after: tuple[Ref, Image] | None) -> Written:
        before = write.record.image() if write.record is not None else None
        if write.op == "delete":
            return Written(_known(write.ref), before, None)
        if after is None:
            raise BadValue(f"a row of {write.table} was written and is not there: a trigger, a rule or row security took it away")
        ref, image = after
        return Written(ref, before, image)

    # -- going back and forth -------------------------------------------------------------------------------------

    def put(self, puts: Sequence[Put], *, ordered: bool = False) -> dict[Ref, Image | None]:
        steps = [step for step in map(self._step, puts) if step is not None]
        self._carried_out(self._put, steps, ordered=ordered)
        live = self.fetch([put.ref for put in puts], lock=False)
        return {put.ref: live.get(put.ref) for put in puts}

    def _put(self, steps: Sequence[Write], *, ordered: bool) -> None:
        going = [_known(step.ref) for step in steps if step.op == "delete"]
        for group in self._groups(steps, ordered=ordered):
            table = self.store.table(group[0].table)
            match group[0].op:
                case "create":
                    self.insert(table, group[0].columns, [step.cells for step in group])
                case "update":
                    self.update(table, group[0].columns, [(ref_cells(_known(step.ref).key), step.cells) for step in group])
                case "delete":
                    refuse_references(self, going)
                    going = []
                    self.delete(table, [ref_cells(_known(step.ref).key) for step in group])

    def _step(self, put: Put) -> Write | None:
        table = self.store.table(put.ref.table)
        if put.target is None:
            return None if put.live is None else Write("delete", table.name, ref=put.ref)
        target = dict(zip(put.target.shape.columns, split_cells(put.target.data), strict=True))
        for name, kind in target:
            column = table.by_name.get(name)
            if column is None or column.type != kind:
                raise SchemaChanged(
                    f"{table.name}.{name} was {kind} and is {column.type if column else 'gone'}: the row cannot be restored"
                )
        if put.live is None:
            names = [name for name, _ in target if not table.by_name[name].generated]
            return Write("create", table.name, tuple(names), [untag(cell) for (name, _), cell in target.items() if name in names])
        live = dict(zip(put.live.shape.columns, split_cells(put.live.data), strict=True))
        changed = [at for at in target if target[at] != live.get(at) and not table.by_name[at[0]].generated]
        if not changed:
            return None
        return Write("update", table.name, tuple(name for name, _ in changed), [untag(target[at]) for at in changed], ref=put.ref)


def _known(ref: Ref | None) -> Ref:
    assert ref is not None  # noqa: S101 -- only creates have no key yet
    return ref


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

    groups: list[list[Any]] = [[] for _ in range(number)]
    positions = {name: at + 1 for at, name in enumerate(names)}
    whole = rows.columns is None
    for cells in found:
        groups[int(cells[0])].append(SqlRecord(table, cells, positions, whole))
    order = key_order(table, positions)
    for group in groups:
        if len(group) > 1:
            group.sort(key=order)
            if rows.via is not None:
                group[:] = _distinct(group)
    return groups


def _ref(table: Table, cells: Cells) -> Ref:
    return Ref(table.name, ref_key([table.tag(cells[at]) for at in table.key_positions]))


def _image(table: Table, cells: Cells) -> Image:
    return Image(table.shape, join_cells(table.tag_all(cells)))


def _in_order(table: Table, names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in table.names if name in names)


def _by(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def key_order(table: Table, positions: Mapping[str, int]) -> Callable[[Any], Any]:
    """What sorts records of the table by their key: binary, numbers by value."""
    columns = table.key_columns or tuple(table.by_name[name] for name in positions)
    parts = [(positions[column.name], column.order) for column in columns]
    if len(parts) == 1:
        at, order = parts[0]
        return lambda record: order(record.cells[at])
    return lambda record: [order(record.cells[at]) for at, order in parts]


def _distinct(records: Sequence[Any]) -> list[Any]:
    seen: dict[Any, Any] = {}
    for record in records:
        seen.setdefault(record.ref if record.table.key else id(record), record)
    return list(seen.values())
