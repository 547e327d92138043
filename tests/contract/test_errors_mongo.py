"""MongoDB: what the server refuses quarantines one user alone, and says which fields, never whose values."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from backtrail import Keys, Migration, Rows
from tests import hard_bson as hard
from tests import servers
from tests.contract.test_errors import BAD, SECRET, USERS, assert_one_failed, neutral_move, neutral_world
from tests.engine import Engine, migration


def alter(engine: Engine, collection: str, **options: Any) -> None:
    with engine.database() as database:
        database.command({"collMod": collection, **options})


def move(change: Any, **attributes: Any) -> type[Migration]:
    """A migration of every user by the change."""
    return migration(
        lambda entity: change(entity, entity.one("users")),
        **{"keys": Keys("users", "_id"), "reads": (Rows("users", by="_id"),), "writes": ("users", "people"), **attributes},
    )


@pytest.mark.parametrize(
    ("validator", "hint"),
    [
        ({"$jsonSchema": {"properties": {"name": {"bsonType": "string", "maxLength": 9}}}}, "name"),
        ({"$jsonSchema": {"properties": {"name": {"bsonType": "string", "pattern": "^name"}}, "required": ["_id"]}}, "name"),
        ({"name": {"$ne": SECRET}}, "validator"),
        ({"$expr": {"$lt": [{"$strLenCP": "$name"}, 10]}}, "validator"),
    ],
)
def test_validators(on_mongo: Engine, validator: dict[str, Any], hint: str) -> None:
    """A document that its collection's validator refuses fails its user; the reason names the fields, where the server does."""
    neutral_world(on_mongo)
    alter(on_mongo, "people", validator=validator)
    assert_one_failed(on_mongo, neutral_move(on_mongo), "ConstraintFailed", hint)


def test_validators_of_updates(on_mongo: Engine) -> None:
    """An update that the validator refuses fails its user; nothing of it stays."""
    neutral_world(on_mongo)
    schema = {"properties": {"more": {"properties": {"size": {"maximum": 12}}}}}
    alter(on_mongo, "users", validator={"$jsonSchema": schema})
    before = on_mongo.dump("users")

    def change(entity: Any, row: Any) -> None:
        entity.create("people", {"_id": entity.key, "name": "x"})
        entity.update(row, {"more.size": len(row["name"])})

    cls = move(change)
    assert_one_failed(on_mongo, cls, "ConstraintFailed", "size")
    assert on_mongo.rollback(cls)["rolled_back"] == USERS - 1
    assert on_mongo.dump("users") == before


def test_unique_indexes(on_mongo: Engine) -> None:
    """A value that is there already fails its user; the reason names index, collection and field."""
    neutral_world(on_mongo, unique=["name"])
    on_mongo.add("people", (1000, SECRET))
    assert_one_failed(on_mongo, neutral_move(on_mongo), "ConstraintFailed", "unique index name_1 of people (name)")


def test_a_primary_key_that_exists(on_mongo: Engine) -> None:
    """So does an `_id`, whatever it is: some are values that Python cannot hold."""
    ids = [hard.text(f"plain {at}") for at in range(3)] + [
        hard.date(hard.YEAR_10000),
        hard.text(b"\xff\xfe"),
        hard.double_bits(0x7FF8_0000_0000_0BAD),
    ]
    with on_mongo.database() as database:
        rows = [hard.document(("_id", hard.int32(at)), ("id", value)) for at, value in enumerate(ids)]
        database["users"].insert_many([RawBSONDocument(row) for row in rows])
        database["people"].insert_many([RawBSONDocument(hard.document(("_id", value))) for value in ids[2:]])
    cls = move(lambda entity, row: entity.create("people", {"_id": row["id"]}))
    state = on_mongo.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (2, 4, None), on_mongo.failures(cls)
    reasons = {facts["reason"] for facts in on_mongo.failures(cls).values()}
    assert reasons == {"unique index _id_ of people (_id) has that value already"}


@pytest.mark.parametrize("value", [2**63, "\ud800", object(), {"a": {1, 2}}, {"a\0b": 1}, {1: 2}])
def test_values_that_no_document_can_hold(on_mongo: Engine, value: Any) -> None:
    """A value that BSON does not have fails its user before anything is sent; the reason names the field."""
    neutral_world(on_mongo)
    cls = move(lambda entity, row: entity.create("people", {"_id": row["_id"], "name": value if row["_id"] == BAD else "x"}))
    assert_one_failed(on_mongo, cls, "BadValue", "name")


def test_paths_through_plain_values(on_mongo: Engine) -> None:
    """A dotted path that leads through text fails its user alone, and nobody else's documents change otherwise."""
    neutral_world(on_mongo)
    with on_mongo.database() as database:
        database["users"].update_many({"_id": {"$ne": BAD}}, {"$set": {"more": {"a": 1}}})
        database["users"].update_one({"_id": BAD}, {"$set": {"more": SECRET}})

    def change(entity: Any, row: Any) -> None:
        entity.create("people", {"_id": entity.key})
        entity.update(row, {"more.b": 2})

    assert_one_failed(on_mongo, move(change), "BadValue", "users")


@pytest.mark.parametrize("way", ["create", "update", "grow"])
def test_documents_beyond_the_limit(on_mongo: Engine, way: str) -> None:
    """A document beyond 16 MB fails its user alone, whether one value is too large or the sum of all."""
    neutral_world(on_mongo)
    half = "x" * (9 * 2**20)
    if way == "grow":
        on_mongo.change("users", {"old": half}, id=BAD)

    def change(entity: Any, row: Any) -> None:
        bad = entity.key == BAD
        entity.create("people", {"_id": entity.key, "a": half * 2 if bad and way == "create" else ""})
        entity.update(row, {"a": half if bad and way != "create" else 1, "b": half if bad and way == "update" else 1})

    assert_one_failed(on_mongo, move(change), "BadValue", "16 MB" if way != "grow" else "")


@pytest.mark.parametrize("change", [{"_id": 5}, {"_id": 5, "name": "x"}])
def test_a_primary_key_is_not_updated(on_mongo: Engine, change: dict[str, Any]) -> None:
    """Who updates `_id` halts the campaign: no document could be migrated so, and the line says what to do instead."""
    neutral_world(on_mongo)
    state = on_mongo.migrate(move(lambda entity, row: entity.update(row, change)))
    assert (state["state"], state["failed"]) == ("halted", 0), state
    assert "_id of users cannot be updated: delete the document and create another" in state["halted"]


@pytest.mark.parametrize("name", ["", "$set", "a..b", "a.", ".a", "a.$[]", "a.$", "a\0b", "a.\0", "\udc80", "a.\ud800"])
def test_names_that_no_update_can_have(on_mongo: Engine, name: str) -> None:
    """Names that the server takes for operators, or not at all, are refused by name; nothing is written under another one."""
    neutral_world(on_mongo)
    before = on_mongo.dump("users")
    state = on_mongo.migrate(move(lambda entity, row: entity.update(row, {name: 1})))
    assert state["migrated"] == 0, state
    assert "users" in str(state["halted"]) + str(on_mongo.failures(move(lambda entity, row: None))), state
    assert on_mongo.dump("users") == before


def test_a_validator_that_came_later(on_mongo: Engine) -> None:
    """A rollback gives documents back that a validator of today would refuse, whole or not at all."""
    neutral_world(on_mongo)
    before = on_mongo.dump("users", "people")

    def change(entity: Any, row: Any) -> None:
        entity.copy("people", row, set={"kind": "copy"})
        if entity.key % 3 == 0:
            entity.delete(row)
        else:
            entity.update(row, {"kind": "new"}, unset=["name"])

    cls = move(change)
    assert on_mongo.migrate(cls)["migrated"] == USERS
    after = on_mongo.dump("users", "people")
    for collection in ("users", "people"):
        alter(on_mongo, collection, validator={"$jsonSchema": {"required": ["kind"], "properties": {"kind": {"enum": ["new"]}}}})
    back = on_mongo.rollback(cls)
    assert (back["rolled_back"], back["failed"]) == (USERS, 0), on_mongo.failures(cls)
    assert on_mongo.dump("users", "people") == before
    assert on_mongo.redo(cls, back["campaign"])["migrated"] == USERS, on_mongo.failures(cls)
    assert on_mongo.dump("users", "people") == after


def test_unique_values_taken_meanwhile(on_mongo: Engine) -> None:
    """A rollback that would bring a unique value back that somebody else has now fails that entity alone, whole."""
    neutral_world(on_mongo)
    cls = move(lambda entity, row: entity.update(row, {"other": 1}, unset=["name"]))
    assert on_mongo.migrate(cls)["migrated"] == USERS
    with on_mongo.database() as database:
        database["users"].insert_one({"_id": 1000, "name": SECRET})
        database["users"].create_index("name", unique=True, sparse=True)
    back = on_mongo.rollback(cls)
    assert (back["rolled_back"], back["failed"]) == (USERS - 1, 1)
    ((key, facts),) = on_mongo.failures(cls).items()
    assert (key, facts["error"]) == (str(BAD), "ConstraintFailed")
    assert on_mongo.rows("users", "id", "name", "other", id=BAD) == [(BAD, None, 1)]


def test_batches_of_many_megabytes(on_mongo: Engine) -> None:
    """Entities of 1 MB each go in several transactions, none of which is near the server's limits, and nobody fails."""
    entities, size = 45, 1_000_000
    with on_mongo.database() as database:
        for at in range(entities):
            database["users"].insert_one(
                RawBSONDocument(hard.document(("_id", hard.int32(at)), ("body", hard.binary(0, bytes([at]) * size))))
            )
        database.create_collection("people")
    before = on_mongo.hashes()
    cls = move(lambda entity, row: entity.update(row, {"n": 1}))
    state = on_mongo.migrate(cls, batch_size=200)
    assert (state["migrated"], state["failed"]) == (entities, 0), on_mongo.answers
    assert len({event.at for at in range(entities) for event in on_mongo.events(cls, str(at))[:1]}) > 1
    assert on_mongo.rollback(cls, options={"batch_size": 200})["rolled_back"] == entities
    assert on_mongo.hashes() == before


def test_a_storm_of_writes(on_mongo: Engine) -> None:
    """An application that writes the documents of the batch all the time delays it; nobody fails, and no write is lost."""
    neutral_world(on_mongo)
    stop, wrote = threading.Event(), [0]

    def storm() -> None:
        with on_mongo.database() as database:
            while not stop.is_set():
                database["users"].update_one({"_id": wrote[0] % USERS + 1}, {"$inc": {"n": 1}})
                wrote[0] += 1
                stop.wait(0.001)

    writer = threading.Thread(target=storm)
    writer.start()
    try:
        cls = move(lambda entity, row: entity.update(row, {"copied": row.get("n", 0)}))
        state = on_mongo.migrate(cls, batch_size=10)
    finally:
        stop.set()
        writer.join(30)
    assert (state["migrated"], state["failed"], state["state"]) == (USERS, 0, "completed"), on_mongo.failures(cls)
    assert wrote[0] > 10
    with on_mongo.database() as database:
        assert sum(one.get("n", 0) for one in database["users"].find()) == wrote[0]


@pytest.fixture
def limited() -> Iterator[Engine]:
    """The engine as a user that may read and write, and not go past validators."""
    with servers.mongod(auth=True) as base, servers.mongo_database(base) as url, MongoClient[dict[str, Any]](url) as root:
        names = [root.get_default_database().name + ending for ending in ("", "_backtrail", "_backtrail_keys")]
        rights = [{"role": "readWrite", "db": name} for name in names]
        root.admin.command({"createUser": "worker", "pwd": "secret", "roles": rights})
        with closing(Engine(url)) as world, closing(Engine(url.replace("root:root@", "worker:secret@"))) as worker:
            neutral_world(world)
            world.table("slots", id=int, user_id=int, place=int, unique=["place"])
            world.add("slots", *((at, at % USERS + 1, at) for at in range(2 * USERS)))
            worker._columns = world._columns
            yield worker
        root.admin.command("dropUser", "worker")


def test_a_user_who_may_not_go_past_validators(limited: Engine) -> None:
    """Unique values that two documents exchange go and come back; what a newer validator refuses fails its entity, and halts nothing."""

    def swap(entity: Any) -> None:
        first, second = entity.rows("slots")
        entity.update(first, {"place": second["place"]})
        entity.update(second, {"place": first["place"]})
        entity.update(entity.one("users"), {"new": 1}, unset=["name"])

    reads = (Rows("users", by="_id"), Rows("slots", by="user_id"))
    cls = migration(swap, keys=Keys("users", "_id"), reads=reads, writes=("users", "slots"))
    with closing(Engine(limited.url.replace("worker:secret@", "root:root@"))) as root:
        limited.fresh_worker()
        before = root.dump("slots", "users")
        assert limited.migrate(cls)["migrated"] == USERS, limited.failures(cls)
        alter(root, "users", validator={"name": {"$ne": SECRET}})
        back = limited.rollback(cls)
        assert (back["rolled_back"], back["failed"], back["halted"]) == (USERS - 1, 1, None), back
        ((key, facts),) = limited.failures(cls).items()
        assert (key, facts["error"]) == (str(BAD), "ConstraintFailed")
        alter(root, "users", validator={})
        assert limited.rollback(cls)["rolled_back"] == 1
        assert root.dump("slots", "users") == before
