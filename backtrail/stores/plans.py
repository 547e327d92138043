"""Decisions as writes of an SQL database: each value encoded once, and one digest of all that they say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import NoneType
from typing import Any, NamedTuple

from backtrail.changes import Create, Decision, Delete, Update
from backtrail.entity import note_json
from backtrail.errors import AuthorMistake, BadValue
from backtrail.image import Ref
from backtrail.row import NewRow, Record, Row
from backtrail.stores.base import Plan, Write
from backtrail.stores.cells import ref_cells
from backtrail.stores.tables import Column, Table
from backtrail.values import Opaque

NUL = "\0"

FORMS = 200
"""How many forms are remembered at the most: an author may leave out other columns in each row."""

WAYS = 500
"""How many combinations of classes a form remembers at the most."""

Encode = Callable[[Any], Any]


class Way(NamedTuple):
    """How rows are encoded whose values are of the same classes."""

    steps: list[tuple[int, Encode]]
    """Where values stand that are not their own cells, and what encodes them."""
    waits: bool
    """Whether a new row is among the values."""


class Form:
    """What all new rows of a table with the same columns have in common."""

    def __init__(self, table: Table, names: tuple[str, ...]) -> None:
        self.table, self.names = table, names
        self.begin = "\0".join(["create", table.name, "", *names, ""])
        self._columns = [table.by_name[name] for name in names]
        self._ways: dict[tuple[type, ...], Way] = {}

    def write(self, row: NewRow, values: dict[str, Any]) -> Write:
        """The row with these values, one for each of the columns."""
        cells = list(values.values())
        # Most values are NULL or text, and their own cells: to look at each takes longer than to encode the others.
        kinds = tuple(map(type, cells))
        way = self._ways.get(kinds) or self._way(kinds)
        for at, encode in way.steps:
            cells[at] = encode(cells[at])
        return Write("create", self.table.name, self.names, cells, row=row, waits=way.waits)

    def _way(self, kinds: tuple[type, ...]) -> Way:
        if len(self._ways) >= WAYS:
            self._ways.clear()
        encoders = [encoder(self.table, column, kind) for column, kind in zip(self._columns, kinds, strict=True)]
        steps = [(at, encode) for at, encode in enumerate(encoders) if encode is not None]
        way = self._ways[kinds] = Way(steps, NewRow in kinds)
        return way


class Planner:
    """Encodes the decisions about tables."""

    def __init__(self, table: Callable[[str], Table]) -> None:
        self._table = table
        self._forms: dict[tuple[str, tuple[str, ...]], Form] = {}

    def forget(self) -> None:
        """Forgets what it knows of the tables."""
        self._forms.clear()

    def plan(self, decision: Decision) -> Plan:
        """The decision encoded.

        Raises:
            BadValue: a value that its column cannot hold.
        """
        writes, texts = [], []
        for change in decision.changes:
            write = self._write(change)
            if write is not None:
                writes.append(write)
                texts.append(self._text(write))
        notes = "".join([f"{note.kind}\0{note_json(note.data)}\n" for note in decision.notes])
        return Plan(writes, hashlib.sha256(self._said(writes, texts) + notes.encode("utf-8", "surrogatepass")).digest())

    def _said(self, writes: Sequence[Write], texts: Sequence[str]) -> bytes:
        """The texts of the writes.

        Raises:
            BadValue: there is a text that no cell can hold.
        """
        # Texts that are their own cells were not looked at one by one: all together it takes a tenth of the time.
        with suppress(UnicodeEncodeError):
            said = "".join(texts)
            if said.count("\0") == sum([3 + 2 * len(write.cells) for write in writes]):
                return said.encode()
        for write in writes:
            self._demand_cells(write)
        raise AssertionError("every text of every row can be held")

    def _text(self, write: Write) -> str:
        """All that the write says."""
        table, cells = self._table(write.table), write.cells
        if write.waits:
            cells = [f"\1{cell!r}" if type(cell) is NewRow else cell for cell in cells]
        if write.op == "create" and cells:
            return f"{self._form(write.table, write.columns).begin}{NUL.join(table.tag_all(cells))}\0\n"
        where = "" if write.ref is None else write.ref.key
        return "\0".join([write.op, write.table, where, *write.columns, *table.tag_all(cells), "\n"])

    def _demand_cells(self, write: Write) -> None:
        """Nothing, where a cell can hold each text of the write."""
        with suppress(UnicodeEncodeError):
            text = self._text(write)
            text.encode()
            if text.count("\0") == 3 + 2 * len(write.cells):
                return
        table = self._table(write.table)
        for name, cell in zip(write.columns, write.cells, strict=True):
            if type(cell) is str:
                table.by_name[name].encode(cell)
        raise BadValue(f"{write.table} cannot hold a text of this row")

    def _write(self, change: Create | Update | Delete) -> Write | None:
        if isinstance(change, Create):
            if change.source is None:
                return self._form(change.table, tuple(change.values)).write(change.row, change.values)
            return _copied(self._table(change.table), change)
        table = self._table(change.table)
        if isinstance(change, Delete):
            return Write("delete", table.name, ref=_told_apart(change.record), record=change.record)
        return _updated(table, change)

    def _form(self, name: str, names: tuple[str, ...]) -> Form:
        form = self._forms.get((name, names))
        if form is None:
            if len(self._forms) >= FORMS:
                self._forms.clear()
            form = self._forms[name, names] = Form(self._table(name), names)
        return form


def encoder(table: Table, column: Column, kind: type) -> Encode | None:
    """What turns values of that class into cells of the column; None where they are that already, as new rows are that stand for themselves."""
    # Rows are told by their class: they are abstract mappings, of which isinstance asks ten times as long, for every cell.
    if kind is NoneType or kind is NewRow or (kind is str and column.takes_text and not column.generated):
        return None
    if column.generated:
        return _refusing(f"{table.name}.{column.name} is computed by the database and cannot be written: leave it out")
    return _key_cell if kind is Row else column.encode


def _encoded(table: Table, name: str, value: Any) -> Any:
    encode = encoder(table, table.by_name[name], type(value))
    return value if encode is None else encode(value)


def _refusing(why: str) -> Encode:
    def refuse(_: Any) -> Any:
        raise AuthorMistake(why)

    return refuse


def _key_cell(row: Row) -> Any:
    key = ref_cells(row.record.ref.key)
    if len(key) != 1:
        raise AuthorMistake(f"a row of {row.name} has a key of {len(key)} columns and cannot stand as one value: name the column")
    return key[0]


def _copied(table: Table, change: Create) -> Write:
    source: Any = change.source
    kept = {change.rename.get(name, name): source.cell(name) for name in source.names() if name not in change.unset}
    for name in source.table.marked:
        new = change.rename.get(name, name)
        if name not in change.unset and kept.get(new) is not None:
            kept[new] = table.by_name[new].encode(Opaque("", kept[new]))  # as far as this column can hold it
    cells = {name: cell for name, cell in kept.items() if not table.by_name[name].generated}
    cells |= {name: _encoded(table, name, value) for name, value in change.values.items()}
    return Write(
        "create", table.name, tuple(cells), list(cells.values()), row=change.row, waits=NewRow in map(type, cells.values())
    )


def _updated(table: Table, change: Update) -> Write | None:
    record: Any = change.record
    cells: dict[str, Any] = {}
    for name, value in {**dict.fromkeys(change.unset), **change.set}.items():
        cell = _encoded(table, name, value)
        # What is unset is not the same as a JSON null, though both are None to authors.
        if _same(record.cell(name), cell) or (name in change.set and _same(record.value(name), value)):
            continue
        if name in table.key:
            raise AuthorMistake(f"the primary key {name!r} of {table.name} cannot be updated: delete the row and create another")
        cells[name] = cell
    if not cells:
        return None
    waits = NewRow in map(type, cells.values())
    return Write("update", table.name, tuple(cells), list(cells.values()), ref=_told_apart(record), record=record, waits=waits)


def _told_apart(record: Record) -> Ref:
    """Which row it is."""
    ref = record.ref
    if None in ref_cells(ref.key):
        # SQLite lets NULL into a primary key, any number of times.
        raise BadValue(f"a row of {ref.table} has NULL in its key, so it cannot be told from another and not be changed")
    return ref


def _same(old: Any, new: Any) -> bool:
    if type(old) is not type(new) or isinstance(old, Opaque):
        return False  # two opaque values may show one text; their cells tell
    # 1, 1.0 and True are equal in Python and different in a database; 1.10 and 1.1, 0.0 and -0.0 too: the repr tells.
    return bool(old == new) if type(old) in (str, bytes) else repr(old) == repr(new)
