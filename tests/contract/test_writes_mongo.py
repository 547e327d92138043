"""MongoDB: what authors can say of documents and of rows is what arrives, and goes back."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from backtrail import Keys, Rows
from backtrail.testing import trial
from tests.contract.test_writes import round_trip, users
from tests.engine import Engine, migration

START: dict[str, Any] = {"_id": 1, "a": {"b": 0, "c": 1}, "n": 5, "l": [1, 2]}


def changed(engine: Engine, change: Any) -> dict[str, Any]:
    """The document after the change, which has gone back and forth."""
    with engine.database() as database:
        database["users"].insert_one(START)
        database.create_collection("copies")
    cls = migration(
        lambda entity: change(entity, entity.one("users")),
        keys=Keys("users", "_id"),
        reads=(Rows("users", by="_id"),),
        writes=("users", "copies"),
    )
    round_trip(engine, cls, "users", "copies", entities=1)
    with engine.database() as database:
        found: dict[str, Any] | None = database["users"].find_one({}, {"_id": 0})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([{"a": {"x": 1}}, {"a.b": 2}], {"a": {"x": 1, "b": 2}, "n": 5, "l": [1, 2]}),
        ([{"a.b": 2}, {"a": {"x": 1}}], {"a": {"x": 1}, "n": 5, "l": [1, 2]}),
        ([{"a.b": {"q": 1}, "a.b.c": 5}], {"a": {"b": {"q": 1, "c": 5}, "c": 1}, "n": 5, "l": [1, 2]}),
        ([{"l": [1], "l.0": 7, "l.2": 8}], {"a": {"b": 0, "c": 1}, "n": 5, "l": [7, None, 8]}),
        ([["a"], {"a.b": 1}], {"a": {"b": 1}, "n": 5, "l": [1, 2]}),
        ([["a.b"], {"a": {"b": 1}}], {"a": {"b": 1}, "n": 5, "l": [1, 2]}),
        ([["a", "a.b"]], {"n": 5, "l": [1, 2]}),
        ([["n"], {"n": 6}], {"a": {"b": 0, "c": 1}, "n": 6, "l": [1, 2]}),
        ([{"n": 6}, ["n"]], {"a": {"b": 0, "c": 1}, "l": [1, 2]}),
        ([{"a": {"$x": 1, "x.y": 2, "": 3}}], {"a": {"$x": 1, "x.y": 2, "": 3}, "n": 5, "l": [1, 2]}),
    ],
)
def test_changes_of_one_document_add_up(on_mongo: Engine, steps: list[Any], wanted: dict[str, Any]) -> None:
    """Paths that lead into each other, which one update of MongoDB cannot have, arrive as if they were made one after the other."""

    def change(entity: Any, row: Any) -> None:
        for step in steps:
            entity.update(row, **({"set": step} if isinstance(step, dict) else {"unset": step}))

    assert changed(on_mongo, change) == wanted


def test_new_rows_at_any_depth(on_mongo: Engine) -> None:
    """A new row stands for its `_id` wherever it is used, in lists and documents, before it is written."""

    def change(entity: Any, row: Any) -> None:
        copy = entity.create("copies", {"n": 1})
        other = entity.create("copies", {"to": copy, "deep": {"list": [{"to": copy}, [copy]]}})
        entity.update(row, {"n": copy, "a.list": [other, {"of": [row, copy]}]})

    after = changed(on_mongo, change)
    with on_mongo.database() as database:
        copy, other = database["copies"].find_one({"n": 1})["_id"], database["copies"].find_one({"to": {"$exists": True}})
    assert isinstance(copy, ObjectId)
    assert (other["to"], other["deep"]) == (copy, {"list": [{"to": copy}, [copy]]})
    assert (after["n"], after["a"]["list"]) == (copy, [other["_id"], {"of": [1, copy]}])


def test_new_rows_that_stand_for_each_other(on_mongo: Engine) -> None:
    """Ids are known before anything is written, so that two new documents can hold each other's."""
    users(on_mongo, 3)
    on_mongo.table("s", id=None, t_id=int)
    on_mongo.table("t", id=None, s_id=int)

    def build(entity: Any) -> None:
        s = entity.create("s", {})
        entity.update(s, {"t_id": entity.create("t", {"s_id": s})})

    round_trip(on_mongo, migration(build, keys=Keys("users", "_id"), writes=("s", "t")), "s", "t", entities=3)
    assert sorted(on_mongo.rows("s", "id", "t_id")) == sorted((s, t) for t, s in on_mongo.rows("t", "id", "s_id"))


def test_values_that_go_round_in_a_unique_index(on_mongo: Engine) -> None:
    """Three documents that pass a unique value on in a circle, one of a list and one deep in a document, forward and back."""
    users(on_mongo)
    with on_mongo.database() as database:
        database["slots"].insert_many(
            [
                {"_id": f"{at}.{n}", "user_id": at, "in": {"place": at * 3 + n}, "tags": [f"{at}.{n}"]}
                for at in range(1, 6)
                for n in range(3)
            ]
        )
        database["slots"].create_index("in.place", unique=True)
        database["slots"].create_index("tags", unique=True)

    def turn(entity: Any) -> None:
        rows = entity.rows("slots")
        for row, following in zip(rows, rows[1:] + rows[:1], strict=True):
            entity.update(row, {"in.place": following["in"]["place"], "tags.0": following["tags"][0]})

    cls = migration(turn, keys=Keys("users", "_id"), reads=(Rows("slots", by="user_id"),), writes=("slots",))
    round_trip(on_mongo, cls, "slots")


def test_a_document_in_place_of_another(on_mongo: Engine) -> None:
    """A document is deleted and one of the same `_id` is created."""

    def change(entity: Any, row: Any) -> None:
        entity.delete(row)
        entity.create("users", {"_id": entity.key, "fresh": 1})

    assert changed(on_mongo, change) == {"fresh": 1}


@pytest.mark.parametrize("key", [[1], {"$x": 1}])
def test_values_that_are_no_primary_key(on_mongo: Engine, key: Any) -> None:
    """An `_id` that the server does not take fails its user alone."""
    users(on_mongo)
    on_mongo.table("copies", id=int)
    cls = migration(
        lambda entity: entity.create("copies", {"_id": key if entity.key == 3 else entity.key}),
        keys=Keys("users", "_id"),
        writes=("copies",),
    )
    state = on_mongo.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (4, 1, None)
    assert on_mongo.failures(cls)["3"]["error"] == "BadValue"


def test_a_path_into_a_new_primary_key_halts(on_mongo: Engine) -> None:
    """A path into the `_id` of a new document would be lost, so it is refused."""
    users(on_mongo)
    on_mongo.table("copies", id=int)
    cls = migration(lambda entity: entity.create("copies", {"_id.x": 1}), keys=Keys("users", "_id"), writes=("copies",))
    state = on_mongo.migrate(cls)
    assert (state["state"], state["failed"]) == ("halted", 0)
    assert "give `_id` as a whole" in state["halted"]


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([({"a": {"c": 2}}, ()), ({"a.b": 1}, ())], {"c": 2, "b": 1}),
        ([({}, ["a"]), ({"a.b": 1}, ())], {"b": 1}),
        ([({"a": {"b": {"q": 1, "r": 2}}}, ()), ({}, ["a.b.q"])], {"b": {"r": 2}}),
        ([({"a": {"b": 1, "c": 7}}, ()), ({}, ["a.c"]), ({"a.d": 3}, ())], {"b": 1, "d": 3}),
    ],
)
def test_changes_below_a_field_that_changes_as_a_whole(on_mongo: Engine, steps: Any, wanted: dict[str, Any]) -> None:
    """What is said later holds, also where the document had the same value there before; and in `trial` as on the server."""

    def change(entity: Any) -> None:
        for set_, unset in steps:
            entity.update(entity.one("users"), set=set_, unset=unset)

    cls = migration(change, keys=Keys("users", "_id"), reads=(Rows("users", by="_id"),), writes=("users",))
    user = {"_id": 1, "a": {"b": 1, "z": 9}}
    with on_mongo.database() as database:
        database["users"].insert_one(user)
        before = on_mongo.hashes()
        assert on_mongo.migrate(cls)["migrated"] == 1, on_mongo.failures(cls)
        assert database["users"].find_one() == {"_id": 1, "a": wanted}
        assert on_mongo.rollback(cls)["rolled_back"] == 1
        assert on_mongo.hashes() == before
    assert trial(cls, {"users": [user]}).tables["users"] == [{"_id": 1, "a": wanted}]
