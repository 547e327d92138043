"""Tables as plain dicts, for authors' tests: read by entity, changed by decisions, and taken back."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from backtrail.changes import Change, Create, Decision, Delete, Update
from backtrail.errors import AuthorMistake, BadValue, ConstraintFailed, ForeignRow, UnknownField, UnknownName, UsageError
from backtrail.image import Image, Ref, Shape
from backtrail.keys import type_of
from backtrail.migration import Keys, Rows
from backtrail.row import NewRow, Record, Row

_ABSENT = object()


def exact(value: Any) -> Any:
    """A form of the value that is equal only where the values are: 1 is not 1.0 nor True, and fields have an order."""
    if isinstance(value, NewRow):
        return ("new row", value.number)
    if isinstance(value, Mapping):
        return ("mapping", tuple((name, exact(item)) for name, item in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(exact(item) for item in value))
    if isinstance(value, (float, decimal.Decimal, dt.date, dt.time)):
        # Their text tells -0.0 from 0.0, 1.0 from 1.00 and one zone from another, where == does not; and NaN equals itself.
        return (type(value).__name__, str(value))
    return (type(value).__name__, value)


def same(left: Any, right: Any) -> bool:
    """Whether a database would call the two equal: 1 is 1.0, but not True."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def in_order(values: Iterable[Any]) -> list[Any]:
    """The values in binary order: numbers by size, text by its UTF-8 bytes, several columns from the left."""
    return sorted(values, key=_rank)


def _rank(value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return tuple(_rank(part) for part in value)
    if value is None:
        return (0, 0)
    if isinstance(value, (bool, int, float, decimal.Decimal)):
        return (1, value)
    if isinstance(value, str):
        return (2, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return (3, value)
    return (4, type(value).__name__, str(value))


class MemoryRecord(Record):
    """One dict as it was when it was read; values are copies, so that no author can change the table by them."""

    __slots__ = ("_row", "ref", "whole")

    def __init__(self, ref: Ref, row: dict[str, Any], columns: Sequence[str] | None) -> None:
        self.ref = ref
        self.whole = columns is None
        self._row = copy.deepcopy(row if columns is None else {name: row[name] for name in row if name in columns})

    def names(self) -> Sequence[str]:
        """The names of the fields that were read, in their order."""
        return tuple(self._row)

    def has(self, name: str) -> bool:
        """Whether the row has the field, and it was read."""
        return name in self._row

    def value(self, name: str) -> Any:
        """A copy of the field's value."""
        return copy.deepcopy(self._row[name])

    def image(self) -> Image:
        """The row exactly; the bytes are good for comparing only."""
        return Image(Shape(self.ref.table), repr(exact(self._row)).encode())


class Write(NamedTuple):
    """One row as an entity left it: what it was before (None: it did not exist) and after (None: it is gone)."""

    ref: Ref
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class _Table:
    """The rows of one table by their exact primary keys."""

    def __init__(self, name: str, rows: Iterable[Mapping[str, Any]], primary_key: tuple[str, ...]) -> None:
        self.name = name
        self.primary_key = primary_key
        self.rows: dict[Ref, dict[str, Any]] = {}
        for row in rows:
            ref = self.ref(row)
            if ref in self.rows:
                raise UsageError(f"table {name!r}: two rows have one primary key ({', '.join(primary_key)})")
            self.rows[ref] = copy.deepcopy(dict(row))

    @property
    def is_document(self) -> bool:
        """Whether dotted names are paths, as in MongoDB's documents."""
        return self.primary_key == ("_id",)

    def key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of the primary key."""
        return tuple(row[name] for name in self.primary_key)

    def ref(self, row: Mapping[str, Any]) -> Ref:
        """Which row it is."""
        for name in self.primary_key:
            if row.get(name) is None:
                raise UsageError(
                    f"table {self.name!r}: a row has no {name!r}; "
                    f"say which columns are the primary key: primary_keys={{{self.name!r}: ('…',)}}"
                )
        return Ref(self.name, repr(exact(self.key(row))))

    def expect(self, columns: Iterable[str]) -> None:
        """Nothing, where a row has each of the columns; documents may lack any field, and an empty table tells nothing."""
        if self.rows and not self.is_document:
            known = {name for row in self.rows.values() for name in row}
            for name in columns:
                if name not in known:
                    raise UnknownName(f"column of {self.name}", name, known)

    def sorted(self) -> Iterator[tuple[Ref, dict[str, Any]]]:
        """The rows in binary primary-key order."""
        return iter(sorted(self.rows.items(), key=lambda item: _rank(self.key(item[1]))))

    def next_serial(self) -> int:
        """The number after the greatest one."""
        numbers = [value for row in self.rows.values() if type(value := self.key(row)[0]) is int]
        return max(numbers, default=0) + 1


class MemoryTables:
    """A database of plain dicts: no columns, types or foreign keys, but primary keys that are unique, and exact values."""

    def __init__(
        self,
        tables: Mapping[str, Iterable[Mapping[str, Any]]],
        writes: Sequence[str] = (),
        primary_keys: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """A database that holds copies of the rows.

        Args:
            tables: rows by table.
            writes: tables that exist even where `tables` does not give them.
            primary_keys: the columns of the primary key by table; where it says nothing, `_id`, or else `id`.

        Raises:
            UsageError: a row has no primary key, or that of another one.
        """
        given = {name: list(rows) for name, rows in tables.items()}
        documents = any("_id" in row for rows in given.values() for row in rows)
        self._tables: dict[str, _Table] = {}
        self._owners: dict[Ref, Any] = {}
        for name in (*given, *(name for name in writes if name not in given)):
            rows = given.get(name, [])
            chosen = (primary_keys or {}).get(name)
            if chosen is None:
                chosen = ("_id",) if any("_id" in row for row in rows) or (documents and not rows) else ("id",)
            self._tables[name] = _Table(name, rows, (chosen,) if isinstance(chosen, str) else tuple(chosen))

    # What an entity sees

    def keys(self, sources: Sequence[Keys]) -> list[Any]:
        """The keys of all entities, each once, in binary order.

        Raises:
            UsageError: they are of mixed type, or a table or column does not exist.
        """
        found: dict[Any, Any] = {}
        for source in sources:
            table = self._table(source.table)
            table.expect((*source.columns, *source.where))
            for row in table.rows.values():
                if all(_allowed(_get(row, name), wanted) for name, wanted in source.where.items()):
                    key = _key_of(row, source)
                    if key is not None:
                        found.setdefault(exact(key), key)
        for types in zip(
            *([None if part is None else type_of(part) for part in _parts(key)] for key in found.values()), strict=True
        ):
            if len(set(types) - {None}) > 1:
                raise UsageError(
                    f"keys are of mixed type ({', '.join(sorted(set(types) - {None}))}): give Keys(…, key=) to make them alike"
                )
        return in_order(found.values())

    def read(self, reads: Sequence[Rows], key: Any) -> dict[str, list[Record]]:
        """The rows of an entity by the names of the reads, in binary primary-key order."""
        full: dict[str, list[dict[str, Any]]] = {}
        records: dict[str, list[Record]] = {}
        for rows in reads:
            table = self._table(rows.table)
            wanted = _wanted(rows, key, full)
            table.expect(rows.by)
            columns = None if rows.columns is None else (*table.primary_key, *rows.by, *rows.columns)
            found = [(ref, row) for ref, row in table.sorted() if _belongs(row, rows.by, wanted)]
            full[rows.name] = [row for _, row in found]
            records[rows.name] = [MemoryRecord(ref, row, columns) for ref, row in found]
        return records

    def written(self, table: str, writes: Iterable[Write]) -> list[Record]:
        """The rows of the table that were written and still stand, in binary primary-key order."""
        refs = {write.ref for write in writes}
        return [MemoryRecord(ref, row, None) for ref, row in self._table(table).sorted() if ref in refs]

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Copies of all rows by table: first those that were given, in their order."""
        return {name: copy.deepcopy(list(table.rows.values())) for name, table in self._tables.items()}

    def exact(self) -> dict[str, dict[str, Any]]:
        """All rows in a form that is equal only where they are, whatever their order in the tables."""
        return {name: {ref.key: exact(row) for ref, row in sorted(table.rows.items())} for name, table in self._tables.items()}

    # What an entity changes

    def apply(self, decision: Decision, owner: Any) -> list[Write]:
        """What was written, in order. All of it or, where it raises, nothing.

        Raises:
            ForeignRow: another entity has changed the row.
            ConstraintFailed: a row with this primary key exists.
            BadValue: a value that the row cannot hold.
        """
        done: list[Write] = []
        try:
            keys = self._new_keys(decision.changes)
            for change in decision.changes:
                write = self._write(change, keys)
                if exact(write.before) == exact(write.after):
                    continue
                self._own(write.ref, owner)
                self._set(write.ref, write.after)
                done.append(write)
        except BaseException:
            self.undo(done)
            raise
        return done

    def undo(self, writes: Sequence[Write]) -> None:
        """Nothing: every row is again what it was before."""
        for write in reversed(writes):
            self._set(write.ref, write.before)
        for write in writes:
            self._owners.pop(write.ref, None)

    def _own(self, ref: Ref, owner: Any) -> None:
        if self._owners.setdefault(ref, owner) != owner:
            raise ForeignRow(f"a row of {ref.table} was changed by another entity of this migration")

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            raise UnknownName("table", name, self._tables)
        return self._tables[name]

    def _set(self, ref: Ref, row: dict[str, Any] | None) -> None:
        rows = self._tables[ref.table].rows
        if row is None:
            rows.pop(ref, None)
        else:
            rows[ref] = copy.deepcopy(row)

    def _new_keys(self, changes: Sequence[Change]) -> dict[int, dict[str, Any]]:
        # All of them before anything is written: two new rows may refer to each other.
        keys: dict[int, dict[str, Any]] = {}
        serials: dict[str, int] = {}
        for change in changes:
            if not isinstance(change, Create):
                continue
            table = self._table(change.table)
            values = {**_copied(change), **change.values}
            key = {name: self._resolved(values.get(name), keys) for name in table.primary_key}
            missing = [name for name, value in key.items() if value is None]
            if missing and len(key) > 1:
                raise ConstraintFailed(f"a new row of {table.name} has no {', '.join(missing)}, part of its primary key")
            for name in missing:
                key[name] = serials[table.name] = serials.get(table.name, table.next_serial() - 1) + 1
            keys[change.row.number] = key
        return keys

    def _write(self, change: Change, keys: Mapping[int, dict[str, Any]]) -> Write:
        table = self._table(change.table)
        if isinstance(change, Create):
            return self._insert(table, change, keys)
        ref = change.record.ref
        before = table.rows.get(ref)
        if before is None:
            raise ForeignRow(f"a row of {table.name} was deleted by another entity of this migration")
        if isinstance(change, Delete):
            return Write(ref, before, None)
        return Write(ref, before, self._updated(table, change, before, keys))

    def _insert(self, table: _Table, change: Create, keys: Mapping[int, dict[str, Any]]) -> Write:
        row = _copied(change)
        self._assign(table, row, change.values, keys)
        key = keys[change.row.number]
        if all(name in row for name in key):
            row.update(key)
        else:
            row = {**key, **row}
        ref = table.ref(row)
        if ref in table.rows:
            raise ConstraintFailed(f"a row of {table.name} with this primary key ({', '.join(key)}) exists already")
        return Write(ref, None, row)

    def _updated(
        self, table: _Table, change: Update, before: dict[str, Any], keys: Mapping[int, dict[str, Any]]
    ) -> dict[str, Any]:
        touched = [name for name in (*change.unset, *change.set) if name in table.primary_key]
        if touched:
            raise AuthorMistake(
                f"the primary key {touched[0]!r} of {table.name} cannot be updated: delete the row and create another"
            )
        row = copy.deepcopy(before)
        for name in change.unset:
            path = _path(table, row, name)
            if table.is_document:
                _unset(row, path)
            elif name in row:
                row[name] = None  # a column of a table cannot be absent
        self._assign(table, row, change.set, keys)
        return row

    def _assign(self, table: _Table, row: dict[str, Any], values: Mapping[str, Any], keys: Mapping[int, dict[str, Any]]) -> None:
        for name, value in values.items():
            _set(row, _path(table, row, name), self._resolved(value, keys, nested=table.is_document))

    def _resolved(self, value: Any, keys: Mapping[int, dict[str, Any]], *, nested: bool = False) -> Any:
        """A copy of the value, in which the primary key of each row stands for it."""
        if isinstance(value, (NewRow, Row)):
            return self._key_value(value, keys)
        if isinstance(value, dict):
            return {name: self._inner(item, keys, nested) for name, item in value.items()}
        if isinstance(value, list):
            return [self._inner(item, keys, nested) for item in value]
        return copy.deepcopy(value)

    def _inner(self, value: Any, keys: Mapping[int, dict[str, Any]], nested: bool) -> Any:
        if isinstance(value, (NewRow, Row)) and not nested:
            raise BadValue("a row stands for its primary key only as the whole value of a column, not inside JSON")
        return self._resolved(value, keys, nested=nested)

    def _key_value(self, row: NewRow | Row, keys: Mapping[int, dict[str, Any]]) -> Any:
        if isinstance(row, NewRow):
            if row.number not in keys:
                raise BadValue(f"a new row of {row.table} is used as a key before it has one")
            table, key = row.table, tuple(keys[row.number].values())
        else:
            table = row.record.ref.table
            key = tuple(row[name] for name in self._table(table).primary_key)
        if len(key) != 1:
            raise AuthorMistake(f"a row of {table} has a key of {len(key)} columns and cannot stand as one value")
        return key[0]


def _get(row: Mapping[str, Any], name: str) -> Any:
    """The field, or what the dotted path leads to; None where there is none."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _allowed(value: Any, wanted: Any) -> bool:
    return any(same(value, item) for item in wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else same(value, wanted)


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _key_of(row: Mapping[str, Any], source: Keys) -> Any:
    parts = tuple(_get(row, name) for name in source.columns)
    if all(part is None for part in parts):
        return None
    value = copy.deepcopy(parts if len(parts) > 1 else parts[0])
    return value if source.key is None else source.key(value)


def _wanted(rows: Rows, key: Any, read: Mapping[str, list[dict[str, Any]]]) -> list[tuple[Any, ...]]:
    """What the columns of `by` must hold: one of these."""
    if rows.via is None:
        parts = _parts(key if rows.key is None else rows.key(key))
        if len(parts) != len(rows.by):
            raise UsageError(f"Rows({rows.table!r}) finds rows by {len(rows.by)} columns, and the key has {len(parts)} values")
        return [parts]
    name, column = rows.via
    return [(value,) for row in read[name] for value in _held(row, column) if value is not None and not isinstance(value, list)]


def _belongs(row: Mapping[str, Any], by: Sequence[str], wanted: Sequence[tuple[Any, ...]]) -> bool:
    held = [_held(row, name) for name in by]
    return any(
        all(any(same(value, part) for value in values) for values, part in zip(held, parts, strict=True)) for parts in wanted
    )


def _held(row: Any, name: str) -> list[Any]:
    """What MongoDB compares a value at the path with: what is there, and, through lists, their members. A column of a table has no lists."""
    if isinstance(row, Mapping) and name in row:
        value = row[name]
        return [value, *value] if isinstance(value, list) else [value]
    part, dot, rest = name.partition(".")
    inner = row.get(part) if isinstance(row, Mapping) else None
    if not dot or not isinstance(inner, (Mapping, list)):
        return [None]
    members = [inner] if isinstance(inner, Mapping) else [one for one in inner if isinstance(one, Mapping)]
    return [value for one in members for value in _held(one, rest)] or [None]


def _copied(change: Create) -> dict[str, Any]:
    """The fields that a new row takes over, renamed ones at their place; none where it is copied from nothing."""
    if change.source is None:
        return {}
    source = change.source
    return {change.rename.get(name, name): source.value(name) for name in source.names() if name not in change.unset}


def _path(table: _Table, row: Mapping[str, Any], name: str) -> list[str]:
    if "." not in name or (name in row and not table.is_document):
        return [name]
    if not table.is_document:
        raise UnknownField(f"{table.name} has no column {name!r}; dotted names are paths in documents, whose key is _id")
    return name.split(".")


def _item(holder: Any, part: str) -> Any:
    return holder[int(part)] if isinstance(holder, list) and part.isdigit() and int(part) < len(holder) else None


def _step(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part, _ABSENT)
    if isinstance(holder, list) and part.isdigit():
        return holder[int(part)] if int(part) < len(holder) else _ABSENT
    raise BadValue(f"no field {part!r} can be in a value that is neither an object nor a list")


def _put(holder: Any, part: str, value: Any) -> None:
    if isinstance(holder, list):
        holder.extend([None] * (int(part) + 1 - len(holder)))  # as MongoDB fills a list up to a place beyond its end
        holder[int(part)] = value
    else:
        holder[part] = value


def _set(row: dict[str, Any], path: Sequence[str], value: Any) -> None:
    holder: Any = row
    for part in path[:-1]:
        inner = _step(holder, part)
        if inner is _ABSENT:
            inner = {}
            _put(holder, part, inner)
        holder = inner
    _step(holder, path[-1])
    _put(holder, path[-1], value)


def _unset(row: dict[str, Any], path: Sequence[str]) -> None:
    holder: Any = row
    for part in path[:-1]:
        holder = holder.get(part) if isinstance(holder, dict) else _item(holder, part)
    if isinstance(holder, dict):
        holder.pop(path[-1], None)
    elif isinstance(holder, list) and path[-1].isdigit() and int(path[-1]) < len(holder):
        holder[int(path[-1])] = None  # as MongoDB does: the others keep their places
