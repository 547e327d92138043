"""MongoDB: whatever a migration writes, copies, updates or deletes comes back exactly, by raw bytes and by the server's own dbHash."""

from __future__ import annotations

import re
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
ZERO = re.compile(rb"\x11[^\0]*\0\0{8}", re.DOTALL)
"""A timestamp of zero, wherever it is."""

DOCUMENTS = {name: raw for name, raw in hard.DOCUMENTS.items() if name != "_id twice"}  # which the server refuses
READS = (Rows("owners", by="_id"), Rows("hard", by="_id", via="owners.doc"))


def id_field(raw: bytes) -> bytes:
    """The bytes of the document's `_id`, name and all."""
    assert raw[5:9] == b"_id\0"  # the server has put it first
    return raw[4 : 9 + size_of(raw[4], raw, 9)]


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
    """Inserts raw documents; timestamps of zero, which the server replaces on insert, by another way."""
    with engine.database() as database:
        database.drop_collection(collection)
        database.create_collection(collection)
        for raw in documents:
            if not ZERO.search(raw):
                database[collection].insert_one(RawBSONDocument(raw))
                continue
            # The server puts its time in the place of a zero that is inserted, and leaves one alone that a pipeline makes.
            query = hard.document(("_id", id_field(raw)[:1] + id_field(raw)[5:]))
            pipeline = [{"$replaceWith": {"$literal": RawBSONDocument(raw)}}]
            database[collection].update_one(RawBSONDocument(query), pipeline, upsert=True)


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
    assert set(DOCUMENTS) - set(same) <= {"_id not first"}
    insert(
        engine,
        "owners",
        [
            hard.document(("_id", hard.text(name)), ("doc", id_field(raw)[:1] + id_field(raw)[5:]))
            for name, raw in owned(stored).items()
        ],
    )
    with engine.database() as database:
        for name in ("copies", "things"):
            database.create_collection(name)
    return stored


def assert_round_trip(
    engine: Engine, cls: type[Migration], entities: int, expected: dict[str, list[bytes]] | None = None, *, once: bool = False
) -> None:
    """Migrate (to the expected documents), roll back to identical bytes, redo to identical bytes, roll back again (unless `once`)."""
    names = sorted(engine.hashes())
    before, hashes = engine.dump(*names), engine.hashes()
    assert len(before) >= entities
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (entities, 0, None), engine.failures(cls)
    after, later = engine.dump(*names), engine.hashes()
    assert after != before
    for name, documents in (expected or {}).items():
        assert_same(find(engine, name), documents)
    back = engine.rollback(cls)
    assert (back["rolled_back"], back["failed"]) == (entities, 0), engine.failures(cls)
    assert engine.dump(*names) == before
    assert engine.hashes() == hashes
    assert engine.redo(cls, back["campaign"])["migrated"] == entities, engine.failures(cls)
    assert engine.dump(*names) == after
    assert engine.hashes() == later
    if once:
        return
    assert engine.rollback(cls)["rolled_back"] == entities
    assert engine.dump(*names) == before
    assert engine.hashes() == hashes


def assert_same(found: Iterable[bytes], wanted: Iterable[bytes]) -> None:
    """Both are the same documents; what differs is shown alone."""
    left, right = set(found), set(wanted)
    assert (sorted(left - right)[:3], sorted(right - left)[:3]) == ([], [])


def owned(stored: dict[str, bytes]) -> dict[str, bytes]:
    """Those that the entities find: a reference to null is none."""
    return {name: raw for name, raw in stored.items() if name != "_id: null"}


def hard_migration(change: Any, **attributes: Any) -> type[Migration]:
    def migrate(entity: Any) -> None:
        change(entity, entity.one("hard"))

    return migration(
        migrate, **{"keys": Keys("owners", "_id"), "reads": READS, "writes": ("hard", "copies", "things"), **attributes}
    )


@pytest.fixture
def stored(on_mongo: Engine) -> dict[str, bytes]:
    """The hard documents as the server holds them, by what they are."""
    return hard_world(on_mongo)


FOUND = len(DOCUMENTS) - 1
"""As many documents have an owner."""


def test_updates(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """A field more leaves every other byte of every hard document alone, and goes again without a trace."""
    cls = hard_migration(lambda entity, row: entity.update(row, {"zzz": 5}))
    expected = [with_fields(raw, ("zzz", hard.int32(5))) if name != "_id: null" else raw for name, raw in stored.items()]
    assert_round_trip(on_mongo, cls, FOUND, {"hard": expected})


def test_values_that_are_there(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """Values that are set to what was read change nothing, and nothing is written, opaque ones included."""
    before = on_mongo.hashes()["hard"]
    cls = hard_migration(
        lambda entity, row: entity.update(row, {name: row[name] for name in row if name and name[0] != "$" and "." not in name})
    )
    assert on_mongo.migrate(cls)["migrated"] == FOUND, on_mongo.failures(cls)
    assert {name for name in owned(stored) if len(on_mongo.events(cls, name)) != 2} == set()  # begin and end
    assert on_mongo.hashes()["hard"] == before


def test_deletes(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """A deleted hard document comes back as it was."""
    cls = hard_migration(lambda entity, row: entity.delete(row))
    assert_round_trip(on_mongo, cls, FOUND, {"hard": [stored["_id: null"]]})


def test_copies(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """A copy has every byte of every field that it does not change, in another collection under another `_id`, and goes again."""
    cls = hard_migration(lambda entity, row: entity.copy("copies", row, set={"_id": entity.key, "zzz": None}))
    copies = [with_fields(with_other_id(raw, hard.text(name)), ("zzz", hard.NULL)) for name, raw in owned(stored).items()]
    assert_round_trip(on_mongo, cls, FOUND, {"copies": copies, "hard": list(stored.values())})


def test_copies_that_keep_their_id(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """A copy of which nothing is changed has the same bytes, `_id` of any type included."""
    cls = hard_migration(lambda entity, row: entity.copy("copies", row))
    assert_round_trip(on_mongo, cls, FOUND, {"copies": list(owned(stored).values())})


def test_values_that_pass_through_python(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """A value that is read and written elsewhere has the same type and bytes, opaque ones too."""
    names = [name for name in stored if name in hard.VALUES]
    assert len(names) > 90
    cls = hard_migration(
        lambda entity, row: (
            "in" in row
            and row.get("list")
            and "value" in row
            and entity.create("things", {"_id": entity.key, **{n: row[n] for n in ("value", "in", "list")}})
        )
    )
    things = [
        hard.document(
            ("_id", hard.text(name)), ("value", value), ("in", hard.sub(("value", value))), ("list", hard.array(value, value))
        )
        for name, value in hard.VALUES.items()
    ]
    assert_round_trip(on_mongo, cls, FOUND, {"things": things})


def test_everything_taken_out_and_put_back(on_mongo: Engine, stored: dict[str, bytes]) -> None:
    """Fields that go and fields of other types in their place: the order and the bytes of the old ones come back."""
    cls = hard_migration(lambda entity, row: entity.update(row, {"first": 1, "last": "x"}, unset=["value", "in", "a", "list"]))
    assert_round_trip(on_mongo, cls, FOUND)


def test_half_filled_documents(on_mongo: Engine) -> None:
    """Dotted paths into documents that are half there, there not at all, or lists, leave every other byte alone."""
    nan, twice = hard.double_bits(0x7FF8_0000_DEAD_BEEF), (("a", hard.int32(1)), ("a", hard.UNDEFINED))
    given = {
        1: (("p", hard.sub(("x", nan), *twice)), ("q", hard.symbol("s"))),
        2: (("q", hard.symbol("s")), *twice),
        3: (("p", hard.sub()), ("l", hard.array(nan, hard.sub(("k", nan))))),
        4: (("p", hard.sub(("y", hard.sub(("b", nan), ("z", hard.int64(1)))), ("x", nan))), ("l", hard.array())),
    }
    wanted = {
        1: (("p", hard.sub(("x", nan), *twice, ("y", hard.sub(("z", hard.int32(9)))))), ("q", hard.symbol("s"))),
        2: (("q", hard.symbol("s")), *twice, ("p", hard.sub(("y", hard.sub(("z", hard.int32(9))))))),
        3: (
            ("p", hard.sub(("y", hard.sub(("z", hard.int32(9)))))),
            ("l", hard.array(nan, hard.sub(("k", nan), ("n", hard.text("in a list"))))),
        ),
        4: (("p", hard.sub(("y", hard.sub(("b", nan), ("z", hard.int32(9)))), ("x", nan))), ("l", hard.array())),
    }
    insert(on_mongo, "hard", [hard.document(("_id", hard.int32(at)), *fields) for at, fields in given.items()])

    def fill(entity: Any) -> None:
        row = entity.one("hard")
        entity.update(row, {"p.y.z": 9})
        if entity.key == 3:
            entity.update(row, {"l.1.n": "in a list"})

    cls = migration(fill, keys=Keys("hard", "_id"), reads=(Rows("hard", by="_id"),), writes=("hard",))
    expected = [hard.document(("_id", hard.int32(at)), *fields) for at, fields in wanted.items()]
    assert_round_trip(on_mongo, cls, 4, {"hard": expected})


def test_paths_taken_out(on_mongo: Engine) -> None:
    """A path that is taken out of a document, or out of a list, where null stays, comes back in its place."""
    nan = hard.double_bits(0x7FF8_0000_DEAD_BEEF)
    insert(
        on_mongo,
        "hard",
        [
            hard.document(
                ("_id", hard.int32(1)), ("p", hard.sub(("x", nan), ("y", nan))), ("l", hard.array(nan, nan)), ("q", hard.NULL)
            )
        ],
    )
    cls = migration(
        lambda entity: entity.update(entity.one("hard"), {"n": 1}, unset=["p.x", "l.0", "q", "none", "p.none.x"]),
        keys=Keys("hard", "_id"),
        reads=(Rows("hard", by="_id"),),
        writes=("hard",),
    )
    fields = (("p", hard.sub(("y", nan))), ("l", hard.array(hard.NULL, nan)), ("n", hard.int32(1)))
    assert_round_trip(on_mongo, cls, 1, {"hard": [hard.document(("_id", hard.int32(1)), *fields)]})


def test_primary_keys_of_every_type(on_mongo: Engine) -> None:
    """Documents whose `_id` is of any type, null too, are updated, deleted, copied and brought back."""
    rows = [
        hard.document(("_id", value), ("owner", hard.int32(at)), ("kind", hard.text(name)))
        for at, (name, value) in enumerate(hard.IDS.items())
    ]
    insert(on_mongo, "hard", rows)
    insert(on_mongo, "copies", [])
    assert find(on_mongo, "hard") == rows

    def move(entity: Any) -> None:
        row = entity.one("hard")
        entity.copy("copies", row, set={"was": row, "all": [row, {"in": row}]})
        if entity.key % 2:
            entity.update(row, {"zzz": 1})
        else:
            entity.delete(row)

    cls = migration(move, keys=Keys("hard", "owner"), reads=(Rows("hard", by="owner"),), writes=("hard", "copies"))
    copies = [
        with_fields(row, ("was", value), ("all", hard.array(value, hard.sub(("in", value)))))
        for row, value in zip(rows, hard.IDS.values(), strict=True)
    ]
    updated = [with_fields(row, ("zzz", hard.int32(1))) for row in rows[1::2]]
    assert_round_trip(on_mongo, cls, len(rows), {"copies": copies, "hard": updated})


@pytest.mark.parametrize("what", ["update", "copy", "delete", "replace"])
def test_large_documents(on_mongo: Engine, what: str) -> None:
    """Documents of 16 MB, whose images before and after do not fit into one document of the ledger."""
    large = [hard.large(16 * 1024 * 1024 - 100)]
    insert(on_mongo, "hard", large)
    insert(on_mongo, "copies", [])

    def move(entity: Any) -> None:
        row = entity.one("hard")
        if what == "update":
            entity.update(row, {"zzz": 1})
        elif what == "replace":
            entity.update(row, {"a": row["body"][:-100], "body": None})
        elif what == "copy":
            entity.copy("copies", row)
        else:
            entity.delete(row)

    cls = migration(move, keys=Keys("hard", "_id"), reads=(Rows("hard", by="_id"),), writes=("hard", "copies"))
    expected = {
        "update": {"hard": [with_fields(raw, ("zzz", hard.int32(1))) for raw in large]},
        "copy": {"copies": large},
        "delete": {"hard": []},
        "replace": {},
    }
    assert_round_trip(on_mongo, cls, 1, expected[what], once=True)


def test_integers_keep_their_width(on_mongo: Engine) -> None:
    """A plain int of the value that is there changes nothing; another type of the same value does."""
    insert(
        on_mongo,
        "hard",
        [
            hard.document(("_id", hard.int32(at)), ("n", hard.int64(5)), ("d", hard.double(5.0)), ("i", hard.int32(5)))
            for at in range(5)
        ],
    )
    changes: list[dict[str, Any]] = [
        {"n": 5, "i": 5},
        {"n": bson.Int64(5)},
        {"i": bson.Int64(5)},
        {"d": 5},
        {"n": 6},
    ]
    cls = migration(
        lambda entity: entity.update(entity.one("hard"), changes[entity.key]),
        keys=Keys("hard", "_id"),
        reads=(Rows("hard", by="_id"),),
        writes=("hard",),
    )
    n, d, i = ("n", hard.int64(5)), ("d", hard.double(5.0)), ("i", hard.int32(5))
    fields = [(n, d, i), (n, d, i), (n, d, ("i", hard.int64(5))), (n, ("d", hard.int32(5)), i), (("n", hard.int32(6)), d, i)]
    expected = [hard.document(("_id", hard.int32(at)), *some) for at, some in enumerate(fields)]
    assert_round_trip(on_mongo, cls, 5, {"hard": expected})
    assert [len([e for e in on_mongo.events(cls, str(at)) if e.kind == "updated"]) > 0 for at in range(5)] == [
        *(False, False, True, True, True)
    ]


def test_order_of_fields_after_an_undo(on_mongo: Engine) -> None:
    """Fields that were taken out and set again, renamed by hand, or replaced, stand where they stood."""
    rows = [hard.document(("_id", hard.int32(at)), *((name, hard.int32(n)) for n, name in enumerate("dcba"))) for at in range(3)]
    insert(on_mongo, "hard", rows)

    def move(entity: Any) -> None:
        row = entity.one("hard")
        entity.update(row, {"z": row["c"]}, unset=["c"])
        if entity.key:
            entity.update(row, {"b": {"now": "a document"}, "a": 3})

    cls = migration(move, keys=Keys("hard", "_id"), reads=(Rows("hard", by="_id"),), writes=("hard",))
    assert_round_trip(on_mongo, cls, 3)


def test_a_rollback_leaves_others_alone(on_mongo: Engine) -> None:
    """Three of all are rolled back: their bytes return, the others' stay as they were migrated."""
    insert(on_mongo, "hard", [hard.document(("_id", hard.int32(at)), ("d", hard.decimal(110, -2))) for at in range(50)])
    cls = migration(
        lambda entity: entity.update(entity.one("hard"), {"n": entity.now}, unset=["d"]),
        keys=Keys("hard", "_id"),
        reads=(Rows("hard", by="_id"),),
        writes=("hard",),
    )
    before = find(on_mongo, "hard")
    assert on_mongo.migrate(cls)["migrated"] == 50
    after = find(on_mongo, "hard")
    assert on_mongo.rollback(cls, only=["3", "30", "49"])["rolled_back"] == 3
    now = find(on_mongo, "hard")
    by_id = [dict(zip(map(id_field, rows), rows, strict=True)) for rows in (before, after, now)]
    assert {key for key in by_id[0] if by_id[2][key] != by_id[1][key]} == {id_field(before[at]) for at in (3, 30, 49)}
    assert {key for key in by_id[0] if by_id[2][key] == by_id[0][key]} == {id_field(before[at]) for at in (3, 30, 49)}
