"""MongoDB: whatever a migration writes, copies, updates or deletes comes back exactly, by raw bytes and by the server's own dbHash."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from backtrail import Keys, Migration, Rows
from tests import hard_bson as hard
from tests.engine import Engine, migration

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
ZERO = b"\x11%b\0" + bytes(8)
"""How a field that is an empty timestamp looks."""

DOCUMENTS = {name: raw for name, raw in hard.DOCUMENTS.items() if name != "_id twice"}  # which the server refuses
READS = (Rows("owners", by="_id"), Rows("hard", by="_id", via="owners.doc"))


def id_field(raw: bytes) -> bytes:
    """The bytes of the document's `_id`, name and all."""
    bare = next(iter(RawBSONDocument(raw).items()))  # the server has put it first
    assert bare[0] == "_id"
    at = raw.index(b"_id\0") + 4
    return raw[4:at] + raw[at : at + size_of(raw[4], raw, at)]


def size_of(kind: int, raw: bytes, at: int) -> int:
    """How many bytes the value has."""
    fixed = {0x01: 8, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
    if kind in fixed:
        return fixed[kind]
    length = int(struct.unpack_from("<i", raw, at)[0])
    return {0x02: length + 4, 0x0E: length + 4, 0x0D: length + 4, 0x05: length + 5, 0x03: length, 0x0C: length + 16}[kind]


def with_fields(raw: bytes, *fields: hard.Pair) -> bytes:
    """The document with further fields at its end."""
    more = hard.document(*fields)[4:-1]
    return struct.pack("<i", len(raw) + len(more)) + raw[4:-1] + more + b"\0"


def with_other_id(raw: bytes, value: bytes) -> bytes:
    """The document with that `_id` in place of its own."""
    rest = raw[4 + len(id_field(raw)) : -1]
    field = hard.document(("_id", value))[4:-1]
    return struct.pack("<i", len(field) + len(rest) + 5) + field + rest + b"\0"


def insert(engine: Engine, collection: str, documents: Iterable[bytes]) -> None:
    """Inserts raw documents; empty timestamps, which the server replaces on insert, are set afterwards."""
    with engine.database() as database:
        database.drop_collection(collection)
        database.create_collection(collection)
        for raw in documents:
            database[collection].insert_one(RawBSONDocument(raw))
            for name in (name for name in ("at", "value") if ZERO % name.encode() in raw):
                wanted = hard.document(("$set", hard.sub((name, hard.timestamp(0, 0)))))
                key = id_field(find(engine, collection, last=True))
                query = hard.document(("q", b"\x03" + bson_of(key)), ("u", b"\x03" + wanted))
                database.command({"update": collection, "updates": [RawBSONDocument(query)]})


def bson_of(fields: bytes) -> bytes:
    return struct.pack("<i", len(fields) + 5) + fields + b"\0"


def find(engine: Engine, collection: str, *, last: bool = False) -> Any:
    """The raw documents of the collection as they are stored; or the last one."""
    with engine.database() as database:
        raw = database.get_collection(collection, codec_options=RAW)
        found = [bytes(one.raw) for one in raw.find().sort("$natural", 1)]
    return found[-1] if last else found


def hard_world(engine: Engine) -> dict[str, bytes]:
    """The hard documents as the server holds them, each owned by an entity that is called what it is described as."""
    insert(engine, "hard", DOCUMENTS.values())
    stored = dict(zip(DOCUMENTS, find(engine, "hard"), strict=True))
    same = [name for name, raw in DOCUMENTS.items() if stored[name] == raw]
    assert set(DOCUMENTS) - set(same) <= {"_id not first", "timestamps, zero, among others"}
    insert(
        engine,
        "owners",
        [hard.document(("_id", hard.text(name)), ("doc", id_field(raw)[:1] + id_field(raw)[5:])) for name, raw in stored.items()],
    )
    with engine.database() as database:
        for name in ("copies", "things"):
            database.create_collection(name)
    return stored


def assert_round_trip(engine: Engine, cls: type[Migration], entities: int, expected: dict[str, list[bytes]] | None = None) -> None:
    """Migrate (to the expected documents), roll back to identical bytes, redo to identical bytes, roll back again."""
    names = sorted(engine.hashes())
    before, hashes = engine.dump(*names), engine.hashes()
    assert len(before) >= entities
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (entities, 0, None), engine.failures(cls)
    after, later = engine.dump(*names), engine.hashes()
    assert after != before
    for name, documents in (expected or {}).items():
        assert sorted(find(engine, name)) == sorted(documents)
    back = engine.rollback(cls)
    assert (back["rolled_back"], back["failed"]) == (entities, 0), engine.failures(cls)
    assert engine.dump(*names) == before
    assert engine.hashes() == hashes
    assert engine.redo(cls, back["campaign"])["migrated"] == entities, engine.failures(cls)
    assert engine.dump(*names) == after
    assert engine.hashes() == later
    assert engine.rollback(cls)["rolled_back"] == entities
    assert engine.dump(*names) == before
    assert engine.hashes() == hashes


def owned(stored: dict[str, bytes]) -> dict[str, bytes]:
    """Those that the entities find: a reference to null is none."""
    return {name: raw for name, raw in stored.items() if name != "_id: null"}


def hard_migration(change: Any, **attributes: Any) -> type[Migration]:
    def migrate(entity: Any) -> None:
        for row in entity.rows("hard"):
            change(entity, row)

    return migration(
        migrate, **{"keys": Keys("owners", "_id"), "reads": READS, "writes": ("hard", "copies", "things"), **attributes}
    )


def test_updates(on_mongo: Engine) -> None:
    """A field more leaves every other byte of every hard document alone, and goes again without a trace."""
    stored = hard_world(on_mongo)
    cls = hard_migration(lambda entity, row: entity.update(row, {"zzz": 5}))
    expected = [with_fields(raw, ("zzz", hard.int32(5))) if name != "_id: null" else raw for name, raw in stored.items()]
    state = on_mongo.migrate(cls)
    assert state["failed"] == 0, on_mongo.failures(cls)
    assert sorted(find(on_mongo, "hard")) == sorted(expected)
    assert on_mongo.rollback(cls)["failed"] == 0, on_mongo.failures(cls)
    assert sorted(find(on_mongo, "hard")) == sorted(stored.values())
