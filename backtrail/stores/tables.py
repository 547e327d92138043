"""Tables as reflection found them: columns with their exact types, keys, and who refers to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from backtrail.image import Shape
from backtrail.stores.cells import ref_key


@dataclass(frozen=True)
class Column:
    """One column: how its cells become Python values and back."""

    name: str
    type: str
    """The full type as the database prints it: part of the image's shape."""
    nullable: bool
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any]
    order: Callable[[Any], Any]
    """Cell to sort key: binary order, numbers by value."""
    cast: str = ""
    """The type without length, for casting text; empty where the store does not cast."""
    key_type: str = "other"
    generated: bool = False
    """Computed by the database from other columns: in the image, never written."""
    made_of: frozenset[str] = frozenset()
    """Of a computed column, those that it is computed from; all others where the database does not say."""
    default: str | None = None
    """The expression that gives the column its value where none is sent."""
    folds: bool = False
    """Whether different values of this column count as equal (case-insensitive collations, 1.0 and 1.00)."""
    key: Callable[[Any], Any] = str
    """Cell to the key of an entity, whose text gives the cell again."""
    exact: str = "{}"
    """The expression that reads {}, the column, where its own text would not give the value again."""
    marked: bool = False
    """Whether `exact` may give a text with the value's binary form behind it."""
    takes_text: bool = False
    """Whether a text that can be encoded is its own cell."""

    def read(self, sql: str) -> str:
        """What reads the column, whose name stands in SQL, exactly."""
        return self.exact.replace("{}", sql)


class Layout:
    """Where the columns of a table stand in a row of cells, and what reads them there."""

    def __init__(self, table: Table, names: Sequence[str], first: int) -> None:
        """A layout.

        Args:
            table: the table.
            names: the columns; images that are older than the table may have some that it has no more.
            first: where the first of them stands.
        """
        self.table = table
        self.positions = {name: at for at, name in enumerate(names, first)}
        self.decoders = {name: (at, table.by_name[name].decode) for name, at in self.positions.items() if name in table.by_name}
        """What decodes each column that the table has, and where it stands."""

    @cached_property
    def key(self) -> Callable[[Sequence[Any]], str]:
        """Cells to the text of their row's primary key."""
        tag, places = self.table.tag, [self.positions[name] for name in self.table.key]
        if len(places) == 1:
            (at,) = places
            return lambda cells: tag(cells[at])
        return lambda cells: ref_key([tag(cells[at]) for at in places])

    @cached_property
    def order(self) -> Callable[[Sequence[Any]], Any]:
        """What sorts cells by their row's key: binary, numbers by value; without a key, by all of the row, NULL first."""
        parts = [(self.positions[column.name], column.order) for column in self.table.key_columns]
        if not parts:
            parts = [(at, _null_first(self.table.by_name[name].order)) for name, at in self.positions.items()]
        if len(parts) == 1:
            at, order = parts[0]
            return lambda cells: order(cells[at])
        return lambda cells: [order(cells[at]) for at, order in parts]


def _null_first(order: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda cell: (False,) if cell is None else (True, order(cell))


@dataclass(frozen=True)
class ForeignKey:
    """Columns of one table that refer to columns of another."""

    table: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    deferrable: bool = True
    """Whether the check can wait for the commit."""
    follows: bool = False
    """Whether the referring rows change when the value they refer to does (ON UPDATE CASCADE, SET NULL, SET DEFAULT)."""


@dataclass(frozen=True)
class Table:
    """One table."""

    name: str
    sql: str
    """The quoted name."""
    columns: tuple[Column, ...]
    tag: Callable[[Any], str]
    """Cell to tagged text."""
    tag_all: Callable[[Iterable[Any]], list[str]]
    """Cells to tagged texts."""
    key: tuple[str, ...]
    """The primary key, or a unique key without NULL; empty where there is none."""
    unique: frozenset[frozenset[str]] = frozenset()
    """The sets of columns of which no two rows have equal values (NULL apart)."""
    targets: frozenset[str] = frozenset()
    """The tables that this one refers to."""
    incoming: tuple[ForeignKey, ...] = field(default=())
    """The foreign keys of all tables that refer to this one."""
    outgoing: tuple[ForeignKey, ...] = field(default=())
    """This table's own foreign keys."""
    clashing: frozenset[str] = frozenset()
    """The columns that some unique or exclusion index looks at, be it partial or of an expression."""
    triggers: tuple[str, ...] = ()
    """The names of the triggers and rules that users made on this table."""
    conflicts: str = ""
    """What makes a statement refuse where the table says that it should rather replace or ignore rows."""
    parted: bool = False
    """Whether its rows lie in partitions."""
    wholes: frozenset[str] = frozenset()
    """The partitioned tables of which this one is a part."""
    inherited: bool = False
    """Whether rows of other tables (INHERITS) are read with its own, for which its keys do not hold."""
    lockable: bool = True
    """Whether single rows can be locked."""

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each column stands."""
        return {column.name: at for at, column in enumerate(self.columns)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names in their order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def marked(self) -> tuple[str, ...]:
        """The names of the columns whose cells may have a binary form behind them."""
        return tuple(column.name for column in self.columns if column.marked)

    @cached_property
    def _layouts(self) -> dict[tuple[tuple[str, ...], int], Layout]:
        return {}

    def layout(self, names: tuple[str, ...], first: int = 0) -> Layout:
        """Where those columns stand in rows that have them from `first` on."""
        known = self._layouts.get((names, first))
        if known is None:
            known = self._layouts[names, first] = Layout(self, names, first)
        return known

    def layout_of(self, shape: Shape) -> Layout:
        """Where the columns stand in images of that shape, which may be older than the table."""
        return self._whole if shape is self.shape else self.layout(shape.names)

    @cached_property
    def _whole(self) -> Layout:
        return self.layout(self.names)

    @cached_property
    def shape(self) -> Shape:
        """The shape of this table's images."""
        return Shape(self.name, tuple((column.name, column.type) for column in self.columns)).shared()

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the key."""
        return tuple(self.by_name[name] for name in self.key)

    @cached_property
    def key_positions(self) -> tuple[int, ...]:
        """Where the key's columns stand among all columns."""
        return tuple(self.names.index(name) for name in self.key)

    def is_unique(self, columns: Sequence[str]) -> bool:
        """Whether no two rows can be alike in these columns, where not all of them are NULL."""
        # Rows with NULL in a part of a unique key may repeat; a NULL that is the whole key does not count.
        sure = {name for name in columns if len(columns) == 1 or not self.by_name[name].nullable}
        return any(unique <= sure for unique in self.unique)

    def changing(self, columns: Iterable[str]) -> set[str]:
        """These columns, and those that the database computes from them."""
        written = set(columns)
        return written | {column.name for column in self.columns if not column.made_of.isdisjoint(written)}

    @cached_property
    def writable(self) -> tuple[str, ...]:
        """The names of the columns that can be written."""
        return tuple(column.name for column in self.columns if not column.generated)


def in_foreign_key_order(tables: Iterable[Table], used: Iterable[tuple[str, str]] = ()) -> list[str]:
    """The tables' names, each after those it refers to; circles are broken where they are met.

    Args:
        tables: the tables.
        used: pairs of a table and another whose rows it refers to, beside the foreign keys.
    """
    also: dict[str, set[str]] = {}
    for name, target in used:
        also.setdefault(name, set()).add(target)
    by_name = {table.name: table for table in tables}
    order = _in_order(by_name, {name: table.targets | also.get(name, set()) for name, table in by_name.items()})
    if all(breakable(by_name[key.table], key) for key in late_keys(by_name.values(), order)):
        return order
    # A circle was broken at a foreign key that is never NULL: break it at one that can be.
    hard = {name: {key.target for key in table.outgoing if not breakable(table, key)} for name, table in by_name.items()}
    return _in_order(by_name, {name: hard[name] | also.get(name, set()) for name in by_name})


def late_keys(tables: Iterable[Table], order: Sequence[str]) -> list[ForeignKey]:
    """The foreign keys onto tables that come later in the order than the one that refers."""
    place = {name: at for at, name in enumerate(order)}
    return [
        key
        for table in tables
        for key in table.outgoing
        if place.get(key.target, -1) > place[table.name] and table.name != key.target
    ]


def breakable(table: Table, key: ForeignKey) -> bool:
    """Whether a row can be there before the one it refers to: the check waits, or a column can be NULL meanwhile."""
    return key.deferrable or any(table.by_name[name].nullable for name in key.columns)


def _in_order(by_name: Mapping[str, Table], targets: Mapping[str, Iterable[str]]) -> list[str]:
    done: list[str] = []
    open_: set[str] = set()

    def visit(name: str) -> None:
        if name in done or name in open_ or name not in by_name:
            return
        open_.add(name)
        for target in sorted(targets[name]):
            visit(target)
        open_.discard(name)
        done.append(name)

    for name in sorted(by_name):
        visit(name)
    return done
