"""What SQLite and PostgreSQL share as stores: reflected tables, encoded decisions, keys in pages, images compared and shown."""

from __future__ import annotations

import contextlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from backtrail.changes import Decision
from backtrail.errors import BacktrailError, UnknownName, UsageError
from backtrail.image import Image, Ref, Shape, join_cells, split_cells
from backtrail.keys import key_text, type_of
from backtrail.migration import Keys, Migration, Rows
from backtrail.row import Record
from backtrail.stores.base import Difference, KeyCensus, KeyPage, Plan, Store, Transaction
from backtrail.stores.cells import ref_cells, show_cell, untag, untag_all
from backtrail.stores.plans import Planner
from backtrail.stores.tables import Column, ForeignKey, Layout, Table, in_foreign_key_order, late_keys
from backtrail.stores.writing import SqlTransaction


class SqlRecord(Record):
    """A row: its exact cells, decoded one by one when asked for."""

    __slots__ = ("cells", "layout", "whole")

    def __init__(self, layout: Layout, cells: Sequence[Any], whole: bool) -> None:
        self.layout = layout
        self.cells = cells
        self.whole = whole

    @property
    def table(self) -> Table:
        """The row's table."""
        return self.layout.table

    @property
    def ref(self) -> Ref:  # type: ignore[override] # made when needed: most records are only read
        layout = self.layout
        return Ref(layout.table.name, layout.key(self.cells))

    @property
    def table_name(self) -> str:
        return self.layout.table.name

    def names(self) -> Sequence[str]:
        return tuple(self.layout.positions)

    def has(self, name: str) -> bool:
        return name in self.layout.positions

    def value(self, name: str) -> Any:
        at, decode = self.layout.decoders[name]
        cell = self.cells[at]
        return None if cell is None else decode(cell)

    def get(self, name: str, default: Any) -> Any:
        known = self.layout.decoders.get(name)
        if known is None:
            return super().get(name, default)
        at, decode = known
        cell = self.cells[at]
        return None if cell is None else decode(cell)

    def cell(self, name: str) -> Any:
        """The exact cell of a column."""
        return self.cells[self.layout.positions[name]]

    def image(self) -> Image:
        table = self.layout.table
        cells = self.cells
        return Image(table.shape, join_cells(table.tag_all([cells[at] for at in self.layout.positions.values()])))

    def same(self, other: Record) -> bool:
        assert isinstance(other, SqlRecord)  # noqa: S101 -- rows of this store come from this store
        own, others = self.cells, other.cells
        if own != others:
            # The first cell may be a mere position.
            places = list(self.layout.positions.values())
            own, others = [[one.cells[at] for at in places] for one in (self, other)]
        # 1, 1.0 and True are equal in Python and different in a database, and so are 0.0 and -0.0.
        kinds = list(map(type, own))
        return own == others and kinds == list(map(type, others)) and (float not in kinds or repr(own) == repr(others))


class SqlStore(Store):
    """A database behind SQLAlchemy."""

    begin: ClassVar[str]

    def __init__(self, url: str, lock_timeout_ms: int) -> None:
        self.url = url
        self.lock_timeout_ms = lock_timeout_ms
        self._engine: Engine | None = None
        self._tables: dict[str, Table] = {}
        self._order: dict[tuple[frozenset[str], frozenset[tuple[str, str]]], list[str]] = {}
        self._late: dict[frozenset[str], list[ForeignKey]] = {}
        self._planner = Planner(self.table)

    @property
    def engine(self) -> Engine:
        """The engine of this process, made when first asked for: after a fork, never before."""
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def forget(self) -> None:
        """Forgets what reflection found, after the schema was changed by us."""
        self._tables.clear()
        self._order.clear()
        self._late.clear()
        self._planner.forget()

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True, small: bool = False) -> Iterator[SqlTransaction]:
        try:
            with self.engine.connect().execution_options(**self._options(write, small)) as connection, connection.begin():
                try:
                    yield self._transaction(connection)
                except BaseException as error:
                    # The raw cursor goes past SQLAlchemy, which would otherwise notice a dead connection itself. And a signal that ends
                    # this process comes amid a query, after which a connection cannot even roll back.
                    if not isinstance(error, Exception) or (isinstance(error, self.driver_errors) and self._is_dead(connection)):
                        connection.invalidate()
                    raise
        except (sa.exc.SQLAlchemyError, *self.driver_errors) as error:  # type: ignore[misc] # a tuple of classes, whatever its length
            raise self.translate(error) from error

    driver_errors: ClassVar[tuple[type[Exception], ...]]

    @abstractmethod
    def _make_engine(self) -> Engine: ...

    @abstractmethod
    def _options(self, write: bool, small: bool) -> dict[str, Any]: ...

    @abstractmethod
    def _transaction(self, connection: Connection) -> SqlTransaction: ...

    @abstractmethod
    def _is_dead(self, connection: Connection) -> bool: ...

    @abstractmethod
    def _reflect(self, connection: Connection, name: str) -> Table | None: ...

    @abstractmethod
    def _table_names(self, connection: Connection) -> list[str]: ...

    @abstractmethod
    def _key_types(self, tx: SqlTransaction, keys: Keys, table: Table) -> tuple[str, ...]:
        """The types of the parts of the source's keys, from the schema or, where that does not say, from the data."""

    @abstractmethod
    def translate(self, error: Exception) -> BacktrailError:
        """The error of the driver as one of ours."""

    # -- tables ---------------------------------------------------------------------------------------------------

    def table(self, name: str) -> Table:
        """The table of that name.

        Raises:
            UnknownName: there is none.
        """
        table = self._tables.get(name)
        if table is None:
            with self._reading() as connection:
                table = self._reflect(connection, name)
                if table is None:
                    raise UnknownName("table", name, self._table_names(connection))
            self._tables[name] = table
        return table

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self.transaction(write=False) as tx:
            yield tx.connection

    def columns(self, table: str) -> Sequence[str] | None:
        return self.table(table).names

    def shape(self, table: str) -> Shape:
        return self.table(table).shape

    def tables_in_order(self, names: frozenset[str], used: frozenset[tuple[str, str]] = frozenset()) -> list[str]:
        """The tables, each after those it refers to.

        Args:
            names: the tables.
            used: pairs of a table and another whose rows it refers to, beside the foreign keys.
        """
        order = self._order.get((names, used))
        if order is None:
            order = self._order[names, used] = in_foreign_key_order((self.table(name) for name in names), used)
        return order

    def late_keys(self, names: frozenset[str]) -> Sequence[ForeignKey]:
        """The foreign keys among the tables that refer to a table which is written later: there is a circle."""
        keys = self._late.get(names)
        if keys is None:
            keys = self._late[names] = late_keys((self.table(name) for name in names), self.tables_in_order(names))
        return keys

    def nullable(self, key: ForeignKey) -> tuple[str, ...]:
        """Those of the foreign key's columns that can be NULL."""
        table = self.table(key.table)
        return tuple(name for name in key.columns if table.by_name[name].nullable and name not in table.key)

    def check(self, migration: type[Migration]) -> None:
        for keys in migration.all_keys():
            table = self.table(keys.table)
            _known(table, (*keys.columns, *keys.where))
        seen: dict[str, Rows] = {}
        for rows in migration.reads:
            table = self.table(rows.table)
            _known(table, (*rows.by, *(rows.columns or ())))
            if rows.via is not None:
                source = seen[rows.via[0]]
                _known(self.table(source.table), (rows.via[1],))
                if source.columns is not None and rows.via[1] not in {*source.columns, *source.by, *self.table(source.table).key}:
                    raise UsageError(
                        f"{migration.name}: {rows.via[0]!r} does not read the column {rows.via[1]!r} that {rows.name!r} needs"
                    )
            seen[rows.name] = rows
        for name in migration.writes:
            try:
                table = self.table(name)
            except UnknownName as error:
                raise UsageError(f"{error}; if {migration.name} adds it, run: backtrail expand {migration.name}") from error
            if table.inherited:
                raise UsageError(
                    f"{name} has tables that inherit from it (INHERITS), for whose rows its keys do not hold, so that they cannot be told"
                    f" apart: let {migration.name} write those tables, or make them partitions of {name}"
                )
            if not table.key:
                raise UsageError(
                    f"{name} has no primary key, so its rows cannot be told apart: add one before {migration.name} writes there"
                )

    # -- decisions ------------------------------------------------------------------------------------------------

    def plan(self, decision: Decision) -> Plan:
        return self._planner.plan(decision)

    # -- keys -----------------------------------------------------------------------------------------------------

    def census(self, migration: type[Migration]) -> KeyCensus:
        total = 0
        nulls: Counter[str] = Counter()
        types: tuple[str, ...] | None = None
        sources = migration.all_keys()
        with self.transaction(write=False) as tx:
            for number, keys in enumerate(sources):
                table = self.table(keys.table)
                found = self._mapped_types(tx, sources, number) if keys.key else self._key_types(tx, keys, table)
                if types is not None and found and types != found:
                    raise UsageError(
                        f"{migration.name}: keys of mixed type, {' + '.join(types)} and {' + '.join(found)}: give Keys(…, key=) to make them alike"
                    )
                types = types or found
                total += tx.count(*self._source(tx, sources, number))
                nulls[keys.table] += tx.count_null(table, keys, self.where(table, keys))
        return KeyCensus(total, nulls.total(), types or ("text",) * len(sources[0].columns), dict(+nulls))

    def _mapped_types(self, tx: SqlTransaction, sources: Sequence[Keys], number: int) -> tuple[str, ...]:
        types: set[tuple[str, ...]] = set()
        for key in self.page(tx, sources, number, None, 1000).keys:
            types.add(tuple(map(type_of, key)) if isinstance(key, tuple) else (type_of(key),))
        if len(types) > 1:
            raise UsageError(f"keys of mixed type from Keys({sources[number].table!r}, key=): the function must give one type")
        return types.pop() if types else ()

    def page(self, tx: Transaction, keys: Sequence[Keys], source: int, after: str | None, limit: int) -> KeyPage:
        assert isinstance(tx, SqlTransaction)  # noqa: S101 -- transactions of this store come from this store
        one = keys[source]
        table = self.table(one.table)
        columns = [table.by_name[name] for name in one.columns]
        last = None if after is None else [untag(part) for part in json.loads(after)]
        cells = tx.page(*self._source(tx, keys, source), last, limit)
        found = [_key(columns, row, one.key) for row in cells]
        going_on = json.dumps([table.tag(cell) for cell in cells[-1]], ensure_ascii=False) if len(cells) == limit else None
        return KeyPage(list(dict.fromkeys(found)), going_on)

    def _source(
        self, tx: SqlTransaction, keys: Sequence[Keys], number: int
    ) -> tuple[Table, tuple[str, ...], str, list[Any], bool]:
        """The table, key columns, condition with its parameters, and whether the columns are unique, of one source of keys."""
        one = keys[number]
        table = self.table(one.table)
        condition, parameters = self.where(table, one)
        for earlier in keys[:number]:
            if one.key is None and earlier.key is None:
                other = self.table(earlier.table)
                inner, more = self.where(other, earlier, alias="e")
                pairs = zip(earlier.columns, one.columns, strict=True)
                same = " AND ".join(f"e.{tx.quote(a)} {tx.same} t.{tx.quote(b)}" for a, b in pairs)
                condition += f" AND NOT EXISTS (SELECT 1 FROM {other.sql} e WHERE {same} AND {inner})"
                parameters += more
        return table, one.columns, condition, parameters, table.is_unique(one.columns)

    def where(self, table: Table, keys: Keys, alias: str = "t") -> tuple[str, list[Any]]:
        """The condition of `Keys(where=…)` over an alias, and its parameters; always true where there is none."""
        parts, parameters = ["1 = 1"], []
        for name, wanted in keys.where.items():
            column = table.by_name[name]
            values = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
            encoded = [column.encode(value) for value in values if value is not None]
            sql = f"{alias}.{self.quote(name)}"
            ways = [f"{sql} = {self.mark(column)}" for _ in encoded]
            if len(encoded) < len(values):
                ways.append(f"{sql} IS NULL")
            parts.append(f"({' OR '.join(ways) or '1 = 0'})")
            parameters += encoded
        return " AND ".join(parts), parameters

    def quote(self, name: str) -> str:
        """The quoted identifier, ready for a statement with parameters."""
        return self.engine.dialect.identifier_preparer.quote_identifier(name)

    @abstractmethod
    def mark(self, column: Column) -> str:
        """The place of a parameter that is compared with the column."""

    def existing(self, tx: Transaction, migration: type[Migration], keys: Sequence[Any]) -> set[int]:
        assert isinstance(tx, SqlTransaction)  # noqa: S101 -- transactions of this store come from this store
        found: set[int] = set()
        for one in migration.all_keys():
            if one.key is not None:
                return set(range(len(keys)))  # the function cannot be turned round, so nothing can be looked up
            table = self.table(one.table)
            columns = [table.by_name[name] for name in one.columns]
            sent = {at: _encoded(columns, keys[at]) for at in range(len(keys)) if at not in found}
            for at, cells in tx.equal_keys(table, columns, sent, *self.where(table, one)):
                # What is equal may be spelled otherwise, and names another stream then; most are the very cells.
                if cells == sent[at] or key_text(_key(columns, cells, None)) == key_text(keys[at]):
                    found.add(at)
        return found

    def known_as(self, tx: Transaction, migration: type[Migration], key: Any) -> list[str]:
        assert isinstance(tx, SqlTransaction)  # noqa: S101 -- transactions of this store come from this store
        found: set[str] = set()
        for one in migration.all_keys():
            if one.key is None:
                table = self.table(one.table)
                columns = [table.by_name[name] for name in one.columns]
                equal = tx.equal_keys(table, columns, {0: _encoded(columns, key)}, *self.where(table, one))
                found |= {key_text(_key(columns, cells, None)) for _, cells in equal}
        return sorted(found)

    # -- images ---------------------------------------------------------------------------------------------------

    def differences(self, expected: Image | None, found: Image | None) -> list[Difference]:
        if expected == found:
            return []
        if expected is None or found is None:
            there = expected or found
            assert there is not None  # noqa: S101 -- both None are equal
            what = ref_cells_shown(there)
            return [Difference("(row)", None if expected is None else what, None if found is None else what)]
        old = dict(zip(expected.shape.columns, split_cells(expected.data), strict=True))
        new = dict(zip(found.shape.columns, split_cells(found.data), strict=True))
        differences = []
        for (name, kind), cell in old.items():
            if (name, kind) in new:
                if new[name, kind] != cell:
                    differences.append(Difference(name, show_cell(untag(cell)), show_cell(untag(new[name, kind]))))
            else:
                now = next((other for column, other in new if column == name), None)
                change = "(column dropped)" if now is None else f"(now of type {now or 'nothing'})"
                schema = f"was {kind or 'without a type'} and is {now or ('gone' if now is None else 'without a type')}"
                differences.append(Difference(name, show_cell(untag(cell)), change, schema))
        return differences

    def show(self, image: Image) -> dict[str, Any]:
        return {name: show_cell(untag(cell)) for name, cell in zip(image.shape.names, split_cells(image.data), strict=True)}

    def parts(self, image: Image) -> dict[str, bytes]:
        return dict(zip(image.shape.names, image.data.split(b"\0"), strict=True)) if image.shape.names else {}

    def show_key(self, ref: Ref) -> str:
        cells = [show_cell(cell) for cell in ref_cells(ref.key)]
        return str(cells[0]) if len(cells) == 1 else json.dumps(cells, ensure_ascii=False, separators=(",", ":"))

    def records(self, images: Sequence[Image]) -> list[Record]:
        records: list[SqlRecord] = []
        for image in images:
            layout = self.table(image.shape.table).layout_of(image.shape)
            records.append(SqlRecord(layout, untag_all(split_cells(image.data)), whole=True))
        if len(records) == 1:
            return [*records]
        return [*sorted(records, key=in_key_order)]


def in_key_order(record: SqlRecord) -> Any:
    """What sorts records of a table by their key: binary, numbers by value."""
    return record.layout.order(record.cells)


def ref_cells_shown(image: Image) -> str:
    """A short name of the row of an image: that there is one, without its values."""
    return f"a row of {image.shape.table}"


def _known(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.by_name:
            raise UnknownName(f"column of {table.name}", name, table.names)


def _key(columns: Sequence[Column], cells: Sequence[Any], key: Callable[[Any], Any] | None) -> Any:
    pairs = zip(columns, cells, strict=True)
    values = [None if cell is None else (column.key if key is None else column.decode)(cell) for column, cell in pairs]
    value = values[0] if len(values) == 1 else tuple(values)
    return value if key is None else key(value)


def _encoded(columns: Sequence[Column], key: Any) -> list[Any]:
    parts = key if isinstance(key, tuple) else (key,)
    return [None if part is None else column.encode(part) for column, part in zip(columns, parts, strict=True)]
