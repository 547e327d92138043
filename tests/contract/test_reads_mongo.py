"""MongoDB: an entity gets the documents that the server's own equality finds: through lists, paths and numbers of any width."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from tests import hard_bson as hard
from tests.engine import Engine, migration


def put(engine: Engine, **collections: Iterable[dict[str, Any]]) -> None:
    with engine.database() as database:
        for name, documents in collections.items():
            database[name].insert_many([*documents])


def seen(engine: Engine, look: Any, *reads: Rows, keys: Keys | None = None) -> dict[Any, Any]:
    """What `look` makes of every entity, by key, in two batches."""
    found: dict[Any, Any] = {}
    cls = migration(
        lambda entity: found.__setitem__(entity.key, look(entity)), keys=keys or Keys("users", "_id"), reads=reads, writes=()
    )
    state = engine.migrate(cls, batch_size=2)
    assert (state["failed"], state["state"]) == (0, "completed"), (engine.failures(cls), state)
    return found


def ids(name: str) -> Any:
    return lambda entity: [row["_id"] for row in entity.rows(name)]


def test_membership_in_a_list(on_mongo: Engine) -> None:
    """A document whose list holds the key belongs to the entity; one whose list holds several belongs to several."""
    put(
        on_mongo,
        users=[{"_id": at} for at in (1, 2, 3)],
        groups=[
            {"_id": "a", "members": [1, 2]},
            {"_id": "b", "members": [2, 2]},
            {"_id": "c", "members": []},
            {"_id": "d", "members": 3},
        ],
        deep=[{"_id": 7, "x": [{"who": 1}, {"who": [3]}]}, {"_id": 8, "x": {"who": 2}}],
    )
    reads = (Rows("groups", by="members"), Rows("deep", by="x.who"))
    found = seen(on_mongo, lambda entity: (ids("groups")(entity), ids("deep")(entity)), *reads)
    assert found == {1: (["a"], [7]), 2: (["a", "b"], [8]), 3: (["d"], [7])}


def test_via_lists_and_paths(on_mongo: Engine) -> None:
    """`via` follows a list of ids, and paths into documents and lists of them; what is null or missing leads nowhere."""
    put(
        on_mongo,
        users=[
            {"_id": 1, "friends": ["x", "y"], "home": {"city": 10}, "jobs": [{"at": 20}, {"at": 30}, {}]},
            {"_id": 2, "friends": [], "home": None, "jobs": [{"at": None}]},
            {"_id": 3, "friends": "y"},
        ],
        people=[{"_id": "x"}, {"_id": "y"}, {"_id": None}],
        places=[{"_id": 10}, {"_id": 20}, {"_id": 30}, {"_id": None}],
    )
    reads = (
        Rows("users", by="_id"),
        Rows("people", by="_id", via="users.friends"),
        Rows("places", by="_id", via="users.home.city", name="cities"),
        Rows("places", by="_id", via="users.jobs.at", name="offices"),
    )
    found = seen(on_mongo, lambda entity: [ids(name)(entity) for name in ("people", "cities", "offices")], *reads)
    assert found == {1: [["x", "y"], [10], [20, 30]], 2: [[], [], []], 3: [["y"], [], []]}


def test_numbers_of_any_width(on_mongo: Engine) -> None:
    """1, 1.0 and Decimal128 1.00 are one key and find each other's documents; True and text do not."""
    put(
        on_mongo,
        users=[{"_id": 1}, {"_id": Int64(2)}, {"_id": 3.0}],
        posts=[
            *(
                {"_id": at, "user": value}
                for at, value in enumerate([1, Int64(1), 1.0, Decimal128("1.00"), True, "1", 2.0, Decimal128("3"), None])
            ),
            {"_id": 99},
        ],
    )
    assert seen(on_mongo, ids("posts"), Rows("posts", by="user")) == {1: [0, 1, 2, 3], 2: [6], 3: [7]}


def test_columns(on_mongo: Engine) -> None:
    """Of documents read with `columns=` only those fields are there, dotted ones in their documents, and the key."""
    put(
        on_mongo,
        users=[{"_id": {"n": 1}, "k": 1, "a": {"b": 1, "c": 2}, "l": [{"x": 1, "y": 2}], "secret": 1}],
    )
    reads = (
        Rows("users", by="k", columns=["a.b", "l.x"]),
        Rows("users", by="_id.n", name="whole"),
        Rows("users", by="k", name="both", columns=["a", "a.b"]),
    )
    found = seen(
        on_mongo, lambda entity: [dict(entity.one(name)) for name in ("users", "whole", "both")], *reads, keys=Keys("users", "k")
    )
    whole = {"_id": {"n": 1}, "k": 1, "a": {"b": 1, "c": 2}, "l": [{"x": 1, "y": 2}], "secret": 1}
    assert found[1] == [
        {"_id": {"n": 1}, "k": 1, "a": {"b": 1}, "l": [{"x": 1}]},
        whole,
        {"_id": {"n": 1}, "k": 1, "a": {"b": 1, "c": 2}},
    ]


def test_order(on_mongo: Engine) -> None:
    """Rows come in the order in which the server itself sorts `_id`, of whatever types they are."""
    keys = [
        *(3, -1, 2.5, Int64(2**40), Decimal128("2.25"), float("inf"), float("nan"), "b", "a", "", "B", "é", "aa"),
        *(
            ObjectId(b"\1" * 12),
            ObjectId(b"\0" * 12),
            True,
            False,
            b"",
            b"\xff",
            b"\0\0",
            Binary(b"\0", 128),
            Timestamp(5, 1),
            Timestamp(1, 9),
        ),
        *({"a": 2}, {"a": 10}, {"a": "x"}, {"b": 1}, {"a": 1, "b": 1}, {}),
    ]
    put(on_mongo, users=[{"_id": 1}], posts=[{"_id": key, "user": 1} for key in keys])
    found = seen(on_mongo, ids("posts"), Rows("posts", by="user"))[1]
    with on_mongo.database() as database:
        options: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=4)
        posts = database.get_collection("posts", codec_options=options)
        wanted = [one["_id"] for one in posts.find().sort("_id", 1)]
    plain = [value.to_decimal() if isinstance(value, Decimal128) else value for value in wanted]
    assert list(map(repr, (Decimal(v) if isinstance(v, Decimal) else v for v in found))) == list(map(repr, plain))


def test_more_values_than_one_question_holds(on_mongo: Engine) -> None:
    """An entity that refers to thousands of documents, some of them more than once, gets each of them once."""
    put(
        on_mongo,
        users=[{"_id": 1, "refs": [*range(5000), *range(100)]}, {"_id": 2, "refs": [4999]}],
        posts=[{"_id": at, "alias": [at, 4999 - at]} for at in range(5000)],
    )
    reads = (
        Rows("users", by="_id"),
        Rows("posts", by="_id", via="users.refs"),
        Rows("posts", by="alias", via="users.refs", name="both"),
    )
    found = seen(on_mongo, lambda entity: (ids("posts")(entity), ids("both")(entity)), *reads)
    assert found[1] == (list(range(5000)), list(range(5000)))
    assert found[2] == ([4999], [0, 4999])


@pytest.mark.parametrize("kind", ["standard", "python-legacy"])
def test_uuids(on_mongo: Engine, kind: str) -> None:
    """UUIDs of the standard subtype are keys; those of the old one are binary values that find their documents all the same."""
    values = [Binary(bytes([at] * 16), 4 if kind == "standard" else 3) for at in range(3)]
    put(
        on_mongo,
        users=[{"_id": value} for value in values],
        posts=[{"_id": at, "user": value} for at, value in enumerate(values)],
    )
    keys = Keys("users", "_id", key=None if kind == "standard" else lambda value: bytes(value).hex())
    by = Rows("posts", by="user", key=None if kind == "standard" else lambda text: Binary(bytes.fromhex(text), 3))
    assert sorted(seen(on_mongo, ids("posts"), by, keys=keys).values()) == [[0], [1], [2]]


def test_via_a_field_that_is_not_read(on_mongo: Engine) -> None:
    """`via` through a field that `columns=` leaves out would find nothing, and is refused before the start."""
    put(on_mongo, users=[{"_id": 1, "a": {"b": 2}, "c": 3}], posts=[{"_id": 2}])
    for path, columns in (("c", ["a"]), ("a.b", ["a.c"]), ("a", ["a.b"])):
        reads = (Rows("users", by="_id", columns=columns), Rows("posts", by="_id", via=f"users.{path}"))
        with pytest.raises(UsageError, match=f"'users' does not read the field '{path}' that 'posts' needs"):
            seen(on_mongo, ids("posts"), *reads)
    reads = (Rows("users", by="_id", columns=["a"]), Rows("posts", by="_id", via="users.a.b"))
    assert seen(on_mongo, ids("posts"), *reads) == {1: [2]}


def test_numbers_that_python_does_not_have(on_mongo: Engine) -> None:
    """Documents whose `_id` is a decimal in no canonical form, or a NaN with a payload, are read and changed like others."""
    names = [name for name in hard.VALUES if name.startswith(("decimal", "double"))]
    odd = (
        "payload",
        "35 digits",
        "large form",
        "behind it",
        "signaling",
    )  # first, because some are equal to others on the server
    names.sort(key=lambda name: not any(words in name for words in odd))
    with on_mongo.database() as database:
        database["users"].insert_one({"_id": 1})
        for name in names:
            document = hard.document(("_id", hard.VALUES[name]), ("user", hard.int32(1)))
            with contextlib.suppress(DuplicateKeyError):  # some are equal on the server
                database["posts"].insert_one(RawBSONDocument(document))
        number = database["posts"].estimated_document_count()
    assert number > 10
    cls = migration(
        lambda entity: [entity.update(row, {"seen": 1}) for row in entity.rows("posts")],
        keys=Keys("users", "_id"),
        reads=(Rows("posts", by="user"),),
        writes=("posts",),
    )
    before = on_mongo.dump("posts")
    assert on_mongo.migrate(cls)["migrated"] == 1, on_mongo.failures(cls)
    assert len([event for event in on_mongo.events(cls, "1") if event.kind == "updated"]) == number
    assert on_mongo.rollback(cls)["rolled_back"] == 1
    assert on_mongo.dump("posts") == before


def test_a_pair_of_fields(on_mongo: Engine) -> None:
    """Of two fields both have to be equal: what has one from each of two entities is nobody's."""
    pairs = [(1, "a"), (1, "b"), (2, "b"), (None, "a")]
    put(
        on_mongo,
        users=[{"_id": at, "x": x, "y": y} for at, (x, y) in enumerate(pairs)],
        some=[{"_id": 10 + at, "x": x, "y": y} for at, (x, y) in enumerate([*pairs, (2, "a"), (1, "b"), (3, "a")])]
        + [{"_id": 20, "y": "a"}],
    )
    found = seen(on_mongo, ids("some"), Rows("some", by=("x", "y")), keys=Keys("users", "x", "y"))
    assert found == {(1, "a"): [10], (1, "b"): [11, 15], (2, "b"): [12], (None, "a"): [13, 20]}


def test_a_transaction_meets_what_it_has_written(on_mongo: Engine) -> None:
    """`check` gets the documents that the server finds afterwards: those that came, that went, and that now belong to another."""
    put(
        on_mongo,
        users=[{"_id": at} for at in (1, 2, 3)],
        teams=[
            {"_id": "a", "members": [1, 2]},
            {"_id": "b", "members": [2]},
            {"_id": "c", "members": 3},
            {"_id": "d", "members": 3, "more": 1},
        ],
    )
    met: dict[Any, Any] = {}

    def migrate(entity: Any) -> None:
        if entity.key == 1:
            entity.update(entity.one("teams", _id="a"), set={"members": [3, 1], "new": {"z": 1}, "also": 2})
        if entity.key == 2:
            entity.delete(entity.one("teams", _id="b"))
        if entity.key == 3:
            entity.copy("teams", entity.one("teams", _id="d"), set={"_id": "e", "members": 2})

    def check(self: Any, entity: Any) -> None:
        met[entity.key] = [(dict(row), [*row]) for row in entity.rows("teams")]
        met[-entity.key] = [dict(row) for row in entity.rows("few")]

    reads = (Rows("teams", by="members"), Rows("teams", by="members", name="few", columns=("more",)))
    cls = migration(migrate, keys=Keys("users", "_id"), reads=reads, writes=("teams",), check=check)
    assert on_mongo.migrate(cls)["migrated"] == 3
    with on_mongo.database() as database:
        for key in (1, 2, 3):
            there = [*database["teams"].find({"members": key}).sort("_id", 1)]
            assert met[key] == [(row, [*row]) for row in there], key
            assert met[-key] == [*database["teams"].find({"members": key}, {"members": 1, "more": 1}).sort("_id", 1)]
    assert [len(met[key]) for key in (1, 2, 3)] == [1, 1, 3]
