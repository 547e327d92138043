"""What `migrate` is handed: an entity's rows to read, and the only way to say what is to change. Pure: it touches no database."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from backtrail import ids
from backtrail.changes import Create, Decision, Delete, Note, NoteKind, Update
from backtrail.errors import AuthorMistake, MissingRow, TooManyRows, UndeclaredTable, UnknownField, UnknownName
from backtrail.image import Ref, jsonable
from backtrail.keys import key_text
from backtrail.recall import ALONE, RecallNeeded
from backtrail.row import NewRow, Record, Row


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
        for name in rename.values():
            if "." in name and self._tables.get(table) is None:
                raise AuthorMistake(
                    f"copy of a row of {row.name}: a field is renamed to {name!r}, which is a path: unset it, and set the path"
                )
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
        one = getattr(function, ALONE, None)
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
