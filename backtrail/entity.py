"""What `migrate` is handed: an entity's rows to read, and the only way to say what is to change. Pure: it touches no database."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from backtrail import ids
from backtrail.changes import Create, Decision, Delete, Note, NoteKind, Update
from backtrail.errors import AuthorMistake, MissingRow, TooManyRows, UndeclaredTable, UnknownField, UnknownName
from backtrail.image import Image, Ref, jsonable
from backtrail.keys import key_text


class Record(ABC):
    """One row as a store read it: exact inside, and its Python values on demand."""

    __slots__ = ()

    ref: Ref
    whole: bool
    """Whether all columns were read (and the row locked), so that it can be changed."""

    @property
    def table_name(self) -> str:
        """The name of the row's table."""
        return self.ref.table

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of the row's fields, in their order."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the row has the field."""

    @abstractmethod
    def value(self, name: str) -> Any:
        """The Python value of a field, made anew, `Opaque` where Python has none.

        Raises:
            KeyError: the row has no such field.
        """

    def get(self, name: str, default: Any) -> Any:
        """The Python value of a field, or the default where there is no such field."""
        return self.value(name) if self.has(name) else default

    @abstractmethod
    def image(self) -> Image:
        """The exact image of what was read."""

    def same(self, other: Record) -> bool:
        """Whether the other holds the same, byte by byte."""
        return self.image() == other.image()

    def alike(self, name: str, other: Record, theirs: str) -> bool:
        """Whether it is plain from their bytes that a field of the other holds the same as this one's."""
        return False


class UnknownColumn(UnknownField, KeyError):
    """`migrate` asked a row for a column that it does not have; also what a mapping raises, so that `.get()` works."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class Row(Mapping[str, Any]):
    """A row that was read: a frozen mapping from its field names to Python values."""

    __slots__ = ("_record", "_values", "columns", "name")

    def __init__(self, record: Record, name: str, columns: Collection[str] | None = None) -> None:
        """A row.

        Args:
            record: the exact row.
            name: the read that gave it.
            columns: all columns of its table; None where any name goes.
        """
        self.columns = columns
        self._record = record
        self._values: dict[str, Any] = {}
        self.name = name

    @property
    def record(self) -> Record:
        """The exact row behind the values."""
        return self._record

    def __getitem__(self, name: str) -> Any:
        values = self._values
        if name in values:
            return values[name]
        try:
            value = values[name] = self._record.value(name)
        except KeyError:
            if self.columns is None or self._record.has(name):
                raise  # documents lack fields rightly
            raise self.unknown(name) from None
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The field's value, or the default where there is no such field."""
        # A mapping's own raises an error and catches it where a question does.
        values = self._values
        if name in values:
            return values[name]
        value = self._record.get(name, default)
        if value is not default:
            values[name] = value
        return value

    def alike(self, name: str, other: Row, theirs: str) -> bool:
        """Whether it is plain, without a look at the values, that a field of the other row holds the same as this one's."""
        return self._record.alike(name, other.record, theirs)

    def unknown(self, name: str) -> UnknownColumn:
        """The answer to a name that is no column of this row."""
        if name in (self.columns or ()):
            return UnknownColumn(f"column {name!r} of {self.name} is not read: add it to columns=")
        return UnknownColumn(str(UnknownName(f"column of {self.name}", name, self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._record.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._record.names())

    def __len__(self) -> int:
        return len(self._record.names())

    def __repr__(self) -> str:
        # Values are people's data and a repr ends up in logs: the names alone.
        return f"<Row of {self._record.table_name}: {', '.join(self)}>"


NOTHING: dict[str, str] = {}
"""The fields that a new row has from another one, where it is no copy: never filled."""


class NewRow(Mapping[str, Any]):
    """A row that this entity creates. Used as a value, it stands for its primary key, which the database may still have to give."""

    __slots__ = ("_copied", "_source", "_values", "change", "number", "table")

    def __init__(self, table: str, values: dict[str, Any], number: int) -> None:
        self.table = table
        self._values = values
        self._source: Mapping[str, Any] = NOTHING
        self._copied = NOTHING
        self.number = number
        self.change: Create | None = None

    def copied(self, source: Row, names: dict[str, str]) -> None:
        """Nothing; the row has these fields of another one, by their new names, where nothing else is said of them."""
        # Read when asked for: most are not.
        self._source, self._copied = source, names

    def set(self, name: str, value: Any) -> None:
        """Nothing; the field has that value."""
        self._values[name] = value

    def unset(self, name: str) -> None:
        """Nothing; the field is gone."""
        self._values.pop(name, None)
        self._copied.pop(name, None)

    def __getitem__(self, name: str) -> Any:
        return self._values[name] if name in self._values or name not in self._copied else self._source[self._copied[name]]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._copied, **self._values})

    def __len__(self) -> int:
        return len(self._copied.keys() | self._values.keys())

    def __repr__(self) -> str:
        return f"<new row {self.number} of {self.table}>"


class RecallNeeded(BaseException):
    """Raised through `migrate` when a recalled result is not known yet: not an error, and no author's `except` may catch it."""

    def __init__(self, label: str, digest: str, call: Callable[[], Any], alone: Callable[[], Any] | None = None) -> None:
        super().__init__(label)
        self.label, self.digest, self.call = label, digest, call
        self.alone = alone
        """Calls what needs nobody else; None where there is no such thing."""


_Function = TypeVar("_Function", bound=Callable[..., Any])
_ALONE = "__backtrail_alone__"


def alone(function: Callable[..., Any]) -> Callable[[_Function], _Function]:
    """A decorator of functions to be recalled, that names one for where nobody else is needed: it costs nothing, and is called on the spot.

    Args:
        function: gives the result, or None while it takes others. What it gives is kept together with the entity's changes.
    """

    def mark(recalled: _Function) -> _Function:
        setattr(recalled, _ALONE, function)
        return recalled

    return mark


class Entity:
    """One user or series inside `migrate` or `check`: reads its rows, and records what is to change."""

    def __init__(
        self,
        key: Any,
        *,
        migration: str,
        now: dt.datetime,
        rows: Mapping[str, Sequence[Record]],
        writes: Sequence[str],
        tables: Mapping[str, Collection[str] | None],
        requires: Sequence[str] = (),
        recalls: Mapping[tuple[str, str], Any] | None = None,
        missing: Callable[[RecallNeeded], Any] | None = None,
    ) -> None:
        """An entity with its rows.

        Args:
            key: the entity's key.
            migration: the migration's name, for its ids.
            now: the job's time, aware, UTC, milliseconds.
            rows: what was read, by the name of the read.
            writes: the tables that may be written.
            tables: the columns of every table that can be written (None where any name goes), to find mistyped names at once.
            requires: the migrations that `of` may name.
            recalls: results known so far, by label and digest of the arguments.
            missing: gives a result that is not known, or raises what it was handed.
        """
        self._key = key
        self._text: str | None = None
        self._migration = migration
        self._now = now
        self._records = rows
        self._rows: dict[str, list[Row]] = {}
        self._writes = writes
        self._tables = tables
        self._requires = requires
        self._recalls = recalls or {}
        self._missing = missing or _asked
        self._updates: dict[Ref, Update] = {}
        self._deleted: set[Ref] = set()
        self._decision = Decision()

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def key(self) -> Any:
        """The entity's key, of its own type; a tuple where the key has several columns."""
        return self._key

    @property
    def now(self) -> dt.datetime:
        """The job's time: aware, UTC, milliseconds; the same in data and ledger, and on every later re-check."""
        return self._now

    @property
    def decision(self) -> Decision:
        """What was decided so far."""
        return self._decision

    # -- reading --------------------------------------------------------------------------------------------------

    def rows(self, name: str, /, **equal: Any) -> list[Row]:
        """The entity's rows of that name, in binary primary-key order, of which the given fields are equal.

        Raises:
            UndeclaredTable: nothing of that name is read.
        """
        rows = self._rows.get(name)
        if rows is None:
            if name not in self._records:
                self._unread(name)
            records = self._records[name]
            columns = self._tables.get(records[0].table_name) if records else None
            rows = self._rows[name] = [Row(record, name, columns) for record in records]
        if not equal:
            return rows.copy()
        return [row for row in rows if all(self._field(row, field) == value for field, value in equal.items())]

    def one(self, name: str, /, **equal: Any) -> Row:
        """The one row of that name with those fields.

        Raises:
            MissingRow: there is none; the entity is quarantined.
            TooManyRows: there are several; the entity is quarantined.
        """
        row = self.one_or_none(name, **equal)
        if row is None:
            raise MissingRow(f"no row of {name}{_by(equal)}; one is expected")
        return row

    def one_or_none(self, name: str, /, **equal: Any) -> Row | None:
        """The row of that name with those fields, or None.

        Raises:
            TooManyRows: there are several; the entity is quarantined.
        """
        rows = self.rows(name, **equal)
        if len(rows) > 1:
            raise TooManyRows(f"{len(rows)} rows of {name}{_by(equal)}; at most one is expected")
        return rows[0] if rows else None

    # -- changing -------------------------------------------------------------------------------------------------

    def create(self, table: str, values: Mapping[str, Any]) -> NewRow:
        """A new row of a table in `writes`. What is left out takes the database's default."""
        self._writable(table)
        self._columns_exist(table, values)
        return self._create(table, dict(values))

    def copy(
        self,
        table: str,
        row: Row,
        set: Mapping[str, Any] = {},
        unset: Sequence[str] = (),
        rename: Mapping[str, str] = {},
    ) -> NewRow:
        """A new row from an existing one, every untouched field exact. Order: unset, rename, set; renamed fields keep their place."""
        self._writable(table)
        names = [rename.get(name, name) for name in row if name not in unset]
        self._columns_exist(table, [*names, *set])
        for name in (*unset, *rename):
            if name not in row and self._tables.get(table) is not None:
                raise row.unknown(name)
        if len(dict.fromkeys(names)) < len(names):
            twice = [name for at, name in enumerate(names) if name in names[:at]]
            raise AuthorMistake(f"copy of a row of {row.name}: two fields would be called {twice[0]!r}: unset one")
        new = self._create(table, dict(set))
        new.copied(row, {rename.get(name, name): name for name in row if name not in unset})
        change = new.change
        assert change is not None  # noqa: S101 -- _create has just set it
        change.source, change.unset, change.rename = row.record, tuple(unset), dict(rename)
        return new

    def update(
        self,
        row: Row | NewRow,
        set: Mapping[str, Any] = {},
        unset: Sequence[str] = (),
    ) -> None:
        """Other values in a row that was read or created. Changes of one row add up; what changes nothing writes nothing."""
        if isinstance(row, NewRow):
            self._update_new(row, set, unset)
            return
        record = row.record
        self._changeable(row)
        self._columns_exist(record.ref.table, [*set, *unset])
        update = self._updates.get(record.ref)
        if update is None:
            update = self._updates[record.ref] = Update(record)
            self._decision.changes.append(update)
        for name, value in set.items():
            _forget(update, name)
            update.set[name] = value
        for name in unset:
            _forget(update, name)
            if not _taken_out(update, name):
                update.unset[name] = None

    def delete(self, row: Row) -> None:
        """The row goes."""
        self._changeable(row)
        ref = row.record.ref
        if ref in self._updates:
            self._decision.changes.remove(self._updates.pop(ref))
        self._deleted.add(ref)
        self._decision.changes.append(Delete(row.record))

    # -- ids, notes, recalls --------------------------------------------------------------------------------------

    def new_uuid(self, *label: Any, of: str | None = None) -> uuid.UUID:
        """The UUID that this migration, entity and label have on every run; `of` names a required migration whose id this is."""
        return ids.new_uuid(self._migration if of is None else self._of(of), self._key_text, _plain(label))

    def new_object_id(self, *label: Any, of: str | None = None) -> Any:
        """The ObjectId that this migration, entity and label have on every run; `of` names a required migration whose id this is."""
        return ids.new_object_id(self._migration if of is None else self._of(of), self._key_text, _plain(label))

    def conflict(self, field: str, values: Any, chosen: Any, **where: Any) -> None:
        """Notes that a field had several values, and which was chosen."""
        self._note("conflict", {"field": field, "values": values, "chosen": chosen, **where})

    def unmapped(self, fields: Any, **where: Any) -> None:
        """Notes fields, as a mapping with their values or as names alone, that have no place in the new form."""
        self._note("unmapped", {"fields": fields, **where})

    def remark(self, text: str, **data: Any) -> None:
        """Notes anything else that a person should be able to look up."""
        self._note("remark", {"text": text, **data})

    def recall(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of something that is not pure: called once, outside the transaction, and given again on every later run.

        The result is JSON. It is kept per label and arguments.
        """
        digest = ids.arguments_digest(args, kwargs)
        if (label, digest) in self._recalls:
            return self._recalls[label, digest]
        one = getattr(function, _ALONE, None)
        return self._missing(
            RecallNeeded(label, digest, partial(function, *args, **kwargs), one and partial(one, *args, **kwargs))
        )

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _key_text(self) -> str:
        text = self._text
        if text is None:
            text = self._text = key_text(self._key)
        return text

    def _create(self, table: str, values: dict[str, Any]) -> NewRow:
        row = NewRow(table, values, len(self._decision.changes))
        row.change = Create(table, values, row)
        self._decision.changes.append(row.change)
        return row

    def _update_new(self, row: NewRow, values: Mapping[str, Any], unset: Sequence[str]) -> None:
        self._columns_exist(row.table, [*values, *unset])
        change = row.change
        assert change is not None  # noqa: S101 -- every NewRow that an author holds comes from _create
        for name, value in values.items():
            row.set(name, value)
        for name in unset:
            row.unset(name)
            came_from = {new: old for old, new in change.rename.items()}
            if change.source is not None and (name in came_from or name not in change.rename):
                # What the copy renamed has its old name in the source, where unset is looked up.
                change.unset = (*change.unset, came_from.get(name, name))

    def _note(self, kind: NoteKind, data: dict[str, Any]) -> None:
        self._decision.notes.append(Note(kind, {name: jsonable(value) for name, value in data.items()}))

    def _of(self, migration: str) -> str:
        if migration not in self._requires:
            raise UnknownField(str(UnknownName("required migration", migration, self._requires)))
        return migration

    def _writable(self, table: str) -> None:
        if table not in self._writes:
            raise UndeclaredTable(f"{table} is not in writes = {tuple(self._writes)!r}: add it there, or write to one of those")

    def _changeable(self, row: Row) -> None:
        record = row.record
        self._writable(record.ref.table)
        if not record.whole:
            raise UndeclaredTable(f"rows of {row.name!r} are read with columns=, so they can be copied but not changed")
        if record.ref in self._deleted:
            raise UnknownField(f"a row of {row.name!r} is deleted and cannot be changed any more")

    def _columns_exist(self, table: str, names: Any) -> None:
        columns = self._tables.get(table)
        if columns is None or (isinstance(columns, frozenset) and columns.issuperset(names)):
            return
        for name in names:
            if name not in columns:
                raise UnknownField(str(UnknownName(f"column of {table}", name, columns)))

    def _field(self, row: Row, name: str) -> Any:
        if name not in row and row.columns is not None:
            raise row.unknown(name)
        return row.get(name)

    def _unread(self, name: str) -> NoReturn:
        raise UndeclaredTable(str(UnknownName("read", name, self._records)) + "; rows come from reads = (Rows(…), …)")


def _asked(needed: RecallNeeded) -> NoReturn:
    raise needed


ROWS = frozenset({Row, NewRow})


def _plain(label: tuple[Any, ...]) -> tuple[Any, ...]:
    """The label with a row in it named by its key: as text, all rows of a table are alike."""
    if ROWS.isdisjoint(map(type, label)):
        return label
    if any(isinstance(part, NewRow) for part in label):
        raise AuthorMistake(
            "an id cannot be made of a new row, whose key may not be known yet: make it of what tells the row apart"
        )
    return tuple(part.record.ref.key if isinstance(part, Row) else part for part in label)


def _by(equal: Mapping[str, Any]) -> str:
    # The fields' names only: their values are people's data, and this message travels.
    return f" by {', '.join(equal)}" if equal else ""


def _forget(update: Update, name: str) -> None:
    """Nothing; what was said before of the field, or of a path inside it, is no longer in the update."""
    for said in (update.set, update.unset):
        for known in [known for known in said if known == name or known.startswith(f"{name}.")]:
            del said[known]


def _taken_out(update: Update, name: str) -> bool:
    """Whether the path leads into a value that is to be set, out of which it was taken: the document has never held it."""
    parts = name.split(".")
    for at in range(1, len(parts)):
        whole = ".".join(parts[:at])
        if isinstance(update.set.get(whole), dict):
            update.set[whole] = _without(update.set[whole], parts[at:])
            return True
    return False


def _without(value: Any, path: Sequence[str]) -> Any:
    """A copy of the value without what is at the path."""
    name, rest = path[0], path[1:]
    if not isinstance(value, dict) or name not in value:
        return value
    return {key: _without(item, rest) if key == name else item for key, item in value.items() if rest or key != name}


def note_json(data: Mapping[str, Any]) -> str:
    """A note's data as the ledger keeps it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
