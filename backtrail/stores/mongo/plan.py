"""A decision as writes of documents: encoded, freed of what changes nothing, and with a digest that is equal for equal decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from bson import ObjectId

from backtrail.changes import Create, Decision, Delete, Update
from backtrail.entity import note_json
from backtrail.errors import AuthorMistake, BadValue
from backtrail.row import NewRow, Record, Row
from backtrail.stores.base import Plan, Write
from backtrail.stores.mongo.document import DOCUMENT, Element, find, join, split
from backtrail.stores.mongo.edited import changed, copied, id_first
from backtrail.stores.mongo.encoding import SIMPLE
from backtrail.stores.mongo.record import MongoRecord, only
from backtrail.stores.mongo.values import decode, encode


class Pending(NamedTuple):
    """A value that holds new rows whose `_id` is given only when they are written."""

    name: str
    value: Any


Cell = Element | Pending | None
"""What a path is set to; None where it is taken out."""


def plan(decision: Decision) -> Plan:
    """The decision encoded.

    Raises:
        BadValue: a value that no document can hold.
        AuthorMistake: a change of `_id`.
    """
    digest = hashlib.sha256()
    writes = []
    for change in decision.changes:
        write = _write(change)
        if write is not None:
            writes.append(write)
            digest.update(
                "\0".join([write.op, write.table, write.ref.key if write.ref else "", *write.columns, ""]).encode(
                    "utf-8", "surrogateescape"
                )
            )
            for cell in write.cells:
                digest.update(_digested(cell))
    for note in decision.notes:
        digest.update(f"{note.kind}\0{note_json(note.data)}\n".encode("utf-8", "surrogatepass"))
    return Plan(writes, digest.digest())


def _digested(cell: Cell | bytes) -> bytes:
    if isinstance(cell, Pending):
        cell = encode(cell.value, lambda row: row_key(row, {}) or _token(row), cell.name)
    if isinstance(cell, Element):
        return b"%d:%c%b" % (len(cell.data), cell.kind, cell.data)
    return b"-" if cell is None else b"%d=%b" % (len(cell), cell)


def _write(change: Create | Update | Delete) -> Write | None:
    if isinstance(change, Create):
        return _create(change)
    record = change.record
    assert isinstance(record, MongoRecord)  # noqa: S101 -- rows of this store come from this store
    if isinstance(change, Delete):
        return Write("delete", record.collection, ref=record.ref, record=record)
    return _update(change, record)


def _create(change: Create) -> Write:
    names = (*change.values, *change.rename.values())
    if not _are_plain(names):
        if any(name.startswith("_id.") for name in names):
            raise AuthorMistake(f"a path into the _id of {change.table}: give `_id` as a whole")
        _demand_names(change.table, names, change.source)
    cells = [_cell(name, value) for name, value in change.values.items()]
    known = [cell for cell in cells if isinstance(cell, Element)]
    key = own_key(change.row)
    # Paths that lead nowhere show now, when they concern one entity alone.
    whole = _edited(change, known if key is None else [*known, key._replace(name="_id")])
    if len(known) < len(cells):
        return Write("create", change.table, tuple(change.values), [join(_base(change)), *cells], row=change.row)
    return Write("create", change.table, (), [whole], row=change.row)


@lru_cache(maxsize=1024)
def _are_plain(names: tuple[str, ...]) -> bool:
    """Whether any new document can have fields of these names."""
    return _are_names(names) and not any(name.startswith("_id.") for name in names)


def _demand_names(collection: str, names: tuple[str, ...], record: Record | None) -> None:
    """Nothing, where fields can have these names, or the document has them already.

    Raises:
        BadValue: they cannot.
    """
    if _are_names(names):
        return
    for name in names:
        if "\0" in name:
            raise BadValue(f"{collection}: the name of a field cannot hold NUL")
        if not _are_names((name,)) and not (isinstance(record, MongoRecord) and _there(record, name)):
            raise BadValue(f"{collection}: the name of a field cannot hold half a surrogate pair")


@lru_cache(maxsize=1024)
def _are_names(names: tuple[str, ...]) -> bool:
    text = "".join(names)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _base(change: Create) -> list[Element]:
    """The fields that the new document has from the one that it is copied from."""
    source = change.source
    return [] if source is None else changed(split(_raw(source)), unset=change.unset, rename=change.rename)


def _edited(change: Create, elements: Sequence[Element]) -> bytes:
    """The new document with these values, its `_id` first."""
    source = change.source
    raw = source.cut(change.unset, change.rename, elements) if isinstance(source, MongoRecord) else None
    return document(_base(change), elements, change.table) if raw is None else raw


def _raw(record: Record) -> bytes:
    assert isinstance(record, MongoRecord)  # noqa: S101 -- rows of this store come from this store
    return record.raw


def document(base: Iterable[Element], elements: Sequence[Element], collection: str) -> bytes:
    """The document that is made of another one's fields by setting these, its `_id` first.

    Raises:
        BadValue: a path leads through a value that can hold no field.
    """
    try:
        return join(id_first(changed(base, set=elements)))
    except ValueError as error:
        raise BadValue(f"{collection}: {error}") from None


def _update(change: Update, record: MongoRecord) -> Write | None:
    cells: dict[str, Cell] = {}
    below = _below([*change.unset, *change.set])
    for name in change.unset:
        if _there(record, name) is not None:
            cells[name] = None
    for name, value in change.set.items():
        cell = _cell(name, value)
        # Below a field that changes as a whole, what the document had there says nothing.
        if isinstance(cell, Pending) or name in below or not _same(_there(record, name), cell):
            cells[name] = cell
    _demand_names(record.collection, tuple(cells), record)
    for name in cells:
        _demand_path(record.collection, name)
    if not cells:
        return None
    deep = [cell for cell in cells.values() if isinstance(cell, Element) and "." in cell.name]
    if deep:
        document(split(record.raw), deep, record.collection)  # as above
    return Write("update", record.collection, tuple(cells), list(cells.values()), ref=record.ref, record=record)


def _below(names: Sequence[str]) -> set[str]:
    """Those of the names that are paths into another one."""
    return {name for name in names if "." in name and any(name.startswith(f"{other}.") for other in names)}


def _there(record: MongoRecord, name: str) -> Element | None:
    """What is at the path; the document itself is not gone through again for every name."""
    path = name.split(".")
    element = record.element(path[0])
    return element if element is None or len(path) == 1 else find(join([element]), path)


@lru_cache(maxsize=4096)
def _demand_path(collection: str, name: str) -> None:
    if name.partition(".")[0] == "_id":
        raise AuthorMistake(f"the _id of {collection} cannot be updated: delete the document and create another")
    if any(not part or part.startswith("$") for part in name.split(".")):
        raise BadValue(f"{collection}: MongoDB cannot update a field whose name is empty or begins with $")


def _same(old: Element | None, new: Element) -> bool:
    if old is None:
        return False
    if (old.kind, old.data) == (new.kind, new.data):
        return True
    # A plain int of Python has no width of its own: the document's stays.
    return (old.kind, new.kind) == (0x12, 0x10) and decode(old) == decode(new)


def _cell(name: str, value: Any) -> Element | Pending:
    if type(value) in SIMPLE:
        return encode(value, name=name)
    known = True

    def key_of(row: object) -> Element | None:
        nonlocal known
        found = row_key(row, {})
        known = known and found is not None
        return found or _token(row)

    element = encode(value, key_of, name)
    return element if known else Pending(name, value)


def operators(raw: bytes, set_: Sequence[Element], unset: Sequence[str]) -> bytes:
    """The update that makes these changes. Of paths that lead into each other, which the server refuses, the outer one is set to all it holds then."""
    names = [*(element.name for element in set_), *unset]
    outer = only(names)
    if len(outer) < len(names):
        after = copied(raw, unset=unset, set=set_)
        found = {name: find(after, name.split(".")) for name in outer}
        set_ = [element._replace(name=name) for name, element in found.items() if element is not None]
        unset = [name for name, element in found.items() if element is None]
    parts = [("$set", set_), ("$unset", [encode("", name=name) for name in unset])]
    return join([Element(operator, DOCUMENT, join(fields)) for operator, fields in parts if fields])


def resolved(cell: Element | Pending, given: Mapping[int, Element]) -> Element:
    """The cell, with the `_id` that each new row was given.

    Args:
        cell: as it was planned.
        given: the `_id` of new rows by the identity of the row.
    """
    if isinstance(cell, Element):
        return cell
    return encode(cell.value, lambda row: row_key(row, given), cell.name)


def row_key(row: object, given: Mapping[int, Element]) -> Element | None:
    """The `_id` that a row stands for; None where it is still to be given."""
    if isinstance(row, Row):
        record = row.record
        assert isinstance(record, MongoRecord)  # noqa: S101 -- rows of this store come from this store
        return record.key
    return given.get(id(row)) or own_key(row) if isinstance(row, NewRow) else None


def own_key(row: NewRow) -> Element | None:
    """The `_id` that the author gave to a new row, or that it has from the row that it was copied from; None where there is none."""
    change = row.change
    assert change is not None  # noqa: S101 -- every NewRow that an author holds has its change
    if "_id" in change.values:
        value = change.values["_id"]
        return encode(value, lambda inner: row_key(inner, {}), "_id") if not isinstance(value, NewRow) else own_key(value)
    source = change.source
    return _copied_key(change, source) if isinstance(source, MongoRecord) else None


def _copied_key(change: Create, source: MongoRecord) -> Element | None:
    if not any(name.partition(".")[0] == "_id" for name in (*change.unset, *change.rename, *change.rename.values())):
        return source.key
    fields = changed(split(source.raw), unset=change.unset, rename=change.rename)
    return next((field for field in fields if field.name == "_id"), None)


def namesake(row: NewRow) -> NewRow:
    """The new row whose `_id` this one has too; itself where it has one of its own."""
    while (change := row.change) is not None and isinstance(value := change.values.get("_id"), NewRow):
        row = value
    return row


_Keyed = Callable[[object], Element | None]


def _token(row: object) -> Element:
    """What stands for a new row's `_id` in the digest: its number, which is the same on every run."""
    assert isinstance(row, NewRow)  # noqa: S101 -- all others have a key
    return Element("", 0x07, b"\0new" + row.number.to_bytes(8, "big"))


def new_key() -> Element:
    """An `_id` for a document that brings none, as the driver would make it."""
    return Element("_id", 0x07, ObjectId().binary)
