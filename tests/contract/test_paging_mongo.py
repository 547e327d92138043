"""MongoDB: paging visits every key exactly once, although types mix and fields are absent, and enters the index where it left off."""

from __future__ import annotations

from collections import Counter

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.collation import Collation

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from backtrail.keys import key_text
from tests import hard_bson as hard
from tests.contract.test_paging import SIZES, assert_visited, census, nothing, visited
from tests.engine import Engine, migration

MIXED: dict[str, bytes] = {
    "min key": hard.MIN_KEY,
    "NaN": hard.double_bits(0x7FF8_0000_0000_0000),
    "-inf": hard.double(float("-inf")),
    "-1": hard.int32(-1),
    "0": hard.double(-0.0),
    "1": hard.int32(1),
    "1.5": hard.decimal(15, -1),
    "0.1 as double": hard.double(0.1),
    "0.1 as decimal": hard.decimal(1, -1),
    "2**53": hard.double(2.0**53),
    "2**53+1": hard.int64(2**53 + 1),
    "2**63-1": hard.int64(2**63 - 1),
    "1e40": hard.decimal(1, 40),
    "inf": hard.double(float("inf")),
    "empty text": hard.text(""),
    "text a": hard.text("a"),
    "text A": hard.text("A"),
    "text é": hard.text("é"),
    "text of NUL": hard.text("a\0"),
    "text 1": hard.text("1"),
    "empty document": hard.sub(),
    "document": hard.sub(("a", hard.int32(1)), ("b", hard.int32(2))),
    "document in another order": hard.sub(("b", hard.int32(2)), ("a", hard.int32(1))),
    "no bytes": hard.binary(0, b""),
    "bytes": hard.binary(0, b"\xff"),
    "bytes of another subtype": hard.binary(128, b"\xff"),
    "longer bytes": hard.binary(0, b"\0\0"),
    "uuid": hard.binary(4, bytes(range(16))),
    "object id": hard.object_id(1),
    "greater object id": hard.object_id(2**95),
    "false": hard.FALSE,
    "true": hard.TRUE,
    "date": hard.date(0),
    "earlier date": hard.date(-(2**62)),
    "later date": hard.date(hard.YEAR_10000),
    "timestamp": hard.timestamp(0, 1),
    "greater timestamp": hard.timestamp(2**32 - 1, 1),
    "regex": hard.regex("a", "i"),
    "code": hard.code("a"),
    "max key": hard.MAX_KEY,
}
"""Values that no two of are equal to the server."""

TWINS: dict[str, list[bytes]] = {
    "NaN": [hard.double_bits(0x7FF8_0000_0000_0BAD), hard.decimal_bits(0x7C00_0000_0000_0000, 0)],
    "0": [hard.int32(0), hard.int64(0), hard.decimal(0, 5, negative=True), hard.double(0.0)],
    "1": [hard.int64(1), hard.double(1.0), hard.decimal(100, -2)],
    "1.5": [hard.double(1.5), hard.decimal(150, -2)],
    "2**53": [hard.int64(2**53), hard.decimal(2**53, 0)],
    "inf": [hard.decimal_bits(0x7800_0000_0000_0000, 0)],
    "text a": [hard.symbol("a")],
}
"""Others that are equal to one of them: the same entity."""


def fill(engine: Engine, collection: str, *documents: bytes) -> None:
    with engine.database() as database:
        if documents:
            database[collection].insert_many([RawBSONDocument(one) for one in documents])
        else:
            database.create_collection(collection)


def numbered(*fields: list[hard.Pair]) -> list[bytes]:
    return [hard.document(("_id", hard.int32(at)), *pairs) for at, pairs in enumerate(fields)]


def groups(engine: Engine, collection: str, *names: str) -> int:
    """How many different keys the server itself counts, those that are null or absent in all parts left out."""
    key = {str(at): {"$ifNull": [f"${name}", None]} for at, name in enumerate(names)}
    with engine.database() as database:
        found = database[collection].aggregate(
            [
                {"$group": {"_id": key}},
                {"$match": {"$or": [{f"_id.{at}": {"$ne": None}} for at in range(len(names))]}},
                {"$count": "n"},
            ],
            collation=Collation("simple"),
        )
        return int(next(iter(found), {"n": 0})["n"])


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("twins", [False, True])
def test_mixed_types(on_mongo: Engine, indexed: bool, twins: bool) -> None:
    """Null, absent, numbers of every width, text, ids, dates, bools, bytes and documents in one field: each once, at any page size."""
    values = [*MIXED.values(), *(one for some in TWINS.values() for one in some if twins)] * (2 if twins else 1)
    rows = numbered(*([("k", value)] for value in values), [("k", hard.NULL)], [], [("k", hard.UNDEFINED)])
    fill(on_mongo, "t", *rows)
    if indexed:
        with on_mongo.database() as database:
            database["t"].create_index("k")
    assert groups(on_mongo, "t", "k") == len(MIXED)
    found = []
    keys = Keys("t", "k", key=lambda value: found.append(value) or str(len(found)))
    for size in SIZES:
        found.clear()
        assert len(visited(on_mongo, keys, size)) == len(MIXED), size
        assert len(found) == len(MIXED)
    assert census(on_mongo, keys) == (len(MIXED), 3)


def test_mixed_types_are_refused(on_mongo: Engine) -> None:
    """Without `key=`, keys of several types are refused with one line that says so."""
    fill(on_mongo, "t", *numbered([("k", hard.int32(1))], [("k", hard.text("1"))]))
    with pytest.raises(UsageError, match=r"keys of mixed type .*key=") as caught:
        on_mongo.open(migration(nothing, keys=Keys("t", "k")), "migrate")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        [hard.int32(1), hard.int64(2**40), hard.int32(-7), hard.int64(3)],
        [hard.text("a"), hard.text("A"), hard.text(""), hard.text("é"), hard.symbol("z")],
        [hard.object_id(at * 2**88) for at in range(5)],
        [hard.binary(4, bytes([at] * 16)) for at in range(5)],
        [hard.date(at * 1001) for at in range(-3, 3)],
        [hard.decimal(at, -1) for at in range(1, 9, 2)],
        [hard.double(0.5), hard.double(-1e300), hard.int32(3)],
        [hard.TRUE, hard.FALSE],
        [hard.binary(0, b"a"), hard.binary(0, b""), hard.binary(0, b"\xff" * 40)],
    ],
    ids=["int", "text", "objectid", "uuid", "date", "decimal", "double", "bool", "bytes"],
)
def test_types_of_keys(on_mongo: Engine, values: list[bytes]) -> None:
    """Keys of every type that can name an entity are visited, counted, looked up, migrated and taken back once each."""
    fill(on_mongo, "t", *numbered(*([("k", value)] for value in values * 2), []))
    cls = migration(
        lambda entity: [entity.update(row, {"seen": row.get("seen", 0) + 1}) for row in entity.rows("t")],
        keys=Keys("t", "k"),
        reads=(Rows("t", by="k"),),
        writes=("t",),
    )
    assert_visited(on_mongo, Keys("t", "k"), set(map(key_text, visited(on_mongo, Keys("t", "k"), 100))))
    before = on_mongo.dump("t")
    state = on_mongo.migrate(cls, batch_size=2)
    assert (state["migrated"], state["null_keys"]) == (len(values), 1), on_mongo.failures(cls)
    with on_mongo.database() as database:
        assert Counter(one.get("seen") for one in database["t"].find({}, {"seen": 1})) == {1: len(values) * 2, None: 1}
    texts = list(on_mongo.states(cls))
    assert on_mongo.rollback(cls, only=texts)["rolled_back"] == len(values)
    assert on_mongo.dump("t") == before


def test_lists_are_refused(on_mongo: Engine) -> None:
    """A list names no entity, in the field itself or on the way to it, and the line says so before anything is migrated."""
    for at, value in enumerate((hard.array(), hard.array(hard.int32(1)), hard.array(hard.int32(1), hard.int32(2)))):
        fill(on_mongo, f"t{at}", *numbered([("k", hard.int32(1))], [("k", value)]))
        on_mongo.store.forget()
        with pytest.raises(UsageError, match=rf"t{at}\.k"):
            visited(on_mongo, Keys(f"t{at}", "k"), 2)
    fill(
        on_mongo, "deep", *numbered([("a", hard.sub(("k", hard.int32(1))))], [("a", hard.array(hard.sub(("k", hard.int32(2)))))])
    )
    on_mongo.store.forget()
    with pytest.raises(UsageError, match=r"deep\.a\.k"):
        on_mongo.migrate(migration(nothing, keys=Keys("deep", "a.k")))


PARTS = [None, hard.NULL, hard.int32(1), hard.int32(2)]


@pytest.mark.parametrize("indexed", [False, True])
def test_composite_keys_with_absent_parts(on_mongo: Engine, indexed: bool) -> None:
    """Any part may be null or absent, which is the same; only a key without any part is none."""
    fill(
        on_mongo,
        "t",
        *numbered(*([(n, v) for n, v in (("a", a), ("b", b), ("c", c)) if v] for a in PARTS for b in PARTS for c in PARTS)),
    )
    if indexed:
        with on_mongo.database() as database:
            database["t"].create_index([("a", 1), ("b", 1), ("c", 1)])
    texts = {"null", "1", "2"}
    wanted = {f"[{a},{b},{c}]" for a in texts for b in texts for c in texts} - {"[null,null,null]"}
    assert_visited(on_mongo, Keys("t", "a", "b", "c"), wanted)
    assert census(on_mongo, Keys("t", "a", "b", "c")) == (26, 8)
    cls = migration(
        lambda entity: [entity.update(row, {"seen": row.get("seen", 0) + 1}) for row in entity.rows("t")],
        keys=Keys("t", "a", "b", "c"),
        reads=(Rows("t", by=("a", "b", "c")),),
        writes=("t",),
    )
    assert on_mongo.migrate(cls, batch_size=5)["migrated"] == 26
    with on_mongo.database() as database:
        assert Counter(one.get("seen") for one in database["t"].find()) == {1: 56, None: 8}


def test_where_finds_absent_fields(on_mongo: Engine) -> None:
    """None stands for null and for absent, in paging, counting and looking up alike."""
    fill(
        on_mongo,
        "t",
        *numbered(
            [("k", hard.int32(1)), ("s", hard.text("on"))],
            [("k", hard.int32(2)), ("s", hard.NULL)],
            [("k", hard.int32(3))],
            [("k", hard.int32(4)), ("s", hard.text("off")), ("d", hard.sub(("x", hard.TRUE)))],
            [("s", hard.text("on"))],
        ),
    )
    for where, wanted in (
        ({"s": None}, "23"),
        ({"s": ["on", None]}, "123"),
        ({"s": "on"}, "1"),
        ({"d.x": True}, "4"),
        ({"d.x": None}, "123"),
    ):
        assert_visited(on_mongo, Keys("t", "k", where=where), set(wanted))


def test_case_insensitive_collections(on_mongo: Engine) -> None:
    """Where a collection finds upper and lower case equal, 'a' and 'A' are two entities nevertheless, each with its own documents."""
    with on_mongo.database() as database:
        collation = Collation("en", strength=2)
        database.create_collection("t", collation=collation)
        database["t"].create_index("k")
        database["t"].insert_many([{"_id": at, "k": key} for at, key in enumerate(["a", "A", "b", "B", "a", "A", "é", "e"])])
        assert database["t"].count_documents({"k": "a"}) == 4  # the fixture is not trivial
    assert_visited(on_mongo, Keys("t", "k"), {"a", "A", "b", "B", "é", "e"})
    cls = migration(
        lambda entity: [entity.update(row, {"seen": row.get("seen", 0) + 1}) for row in entity.rows("t")],
        keys=Keys("t", "k"),
        reads=(Rows("t", by="k"),),
        writes=("t",),
    )
    assert on_mongo.migrate(cls)["migrated"] == 6
    with on_mongo.database() as database:
        assert {one["seen"] for one in database["t"].find()} == {1}


def test_dotted_keys(on_mongo: Engine) -> None:
    """A key may lie in a sub-document; where the path ends early, there is none."""
    fill(
        on_mongo,
        "t",
        *numbered(
            [("a", hard.sub(("b", hard.sub(("c", hard.int32(1))))))],
            [("a", hard.sub(("b", hard.sub(("c", hard.int32(2)), ("d", hard.NULL)))))],
            [("a", hard.sub(("b", hard.int32(7))))],
            [("a", hard.int32(7))],
            [],
        ),
    )
    assert_visited(on_mongo, Keys("t", "a.b.c"), {"1", "2"})
    assert census(on_mongo, Keys("t", "a.b.c")) == (2, 3)


def test_keys_of_documents(on_mongo: Engine) -> None:
    """An `_id` that is a document names entities by `key=`, or by the paths into it."""
    ids = [hard.sub(("form", hard.int32(at // 3)), ("client", hard.text(str(at)))) for at in range(7)]
    fill(on_mongo, "t", *(hard.document(("_id", one)) for one in ids))
    assert_visited(on_mongo, Keys("t", "_id", key=lambda value: value["client"]), set("0123456"))
    assert_visited(on_mongo, Keys("t", "_id.form", "_id.client"), {f'[{at // 3},"{at}"]' for at in range(7)})


def test_several_sources(on_mongo: Engine) -> None:
    """Keys that several collections share, in other widths and with absent parts, are visited once."""
    fill(
        on_mongo,
        "a",
        *numbered(
            [("x", hard.int32(1)), ("y", hard.int32(1))], [("x", hard.int32(1))], [("x", hard.int32(2)), ("y", hard.int32(2))]
        ),
    )
    fill(
        on_mongo,
        "b",
        *numbered(
            [("x", hard.int64(1)), ("y", hard.double(1.0))], [("x", hard.int64(1)), ("y", hard.NULL)], [("y", hard.int32(3))]
        ),
    )
    fill(on_mongo, "c", *numbered([("y", hard.int64(3)), ("x", hard.NULL)], [], [("x", hard.int32(5)), ("y", hard.int32(5))]))
    keys = (Keys("a", "x", "y"), Keys("b", "x", "y"), Keys("c", "x", "y"))
    assert_visited(on_mongo, keys, {"[1,1]", "[1,null]", "[2,2]", "[null,3]", "[5,5]"})


@pytest.mark.parametrize(("columns", "field"), [(("k",), "k"), (("k", "n"), "k"), (("_id",), "_id")])
def test_pages_enter_the_index(on_mongo: Engine, columns: tuple[str, ...], field: str) -> None:
    """The second half of the keys is not paid for by going over the first again: the server looks at no more than the page."""
    with on_mongo.database() as database:
        database["t"].insert_many([{"_id": at, "k": f"key{at:05}", "n": at % 3} for at in range(2000)])
        database["t"].create_index([(name, 1) for name in columns])
        keys = Keys("t", *columns)
        cls = migration(nothing, keys=keys)
        after = None
        for _ in range(10):
            with on_mongo.store.transaction(write=False) as tx:
                page = on_mongo.store.page(tx, cls.all_keys(), 0, after, 100)
            after = page.after
        database.command("profile", 2)
        with on_mongo.store.transaction(write=False) as tx:
            page = on_mongo.store.page(tx, cls.all_keys(), 0, after, 100)
        database.command("profile", 0)
        assert len(page.keys) == 100
        (one,) = database["system.profile"].find({"op": "query", "ns": f"{database.name}.t"})
        more = list(database["system.profile"].find({"op": "getmore", "ns": f"{database.name}.t"}))
    assert f"IXSCAN {{ {field}: 1" in one["planSummary"], one["planSummary"]
    assert sum(each["keysExamined"] for each in (one, *more)) <= 110


def test_documents_without_a_key_are_counted_by_collection(on_mongo: Engine) -> None:
    """Null and absent, in each source and in several, united or with `key=`; a partly null key is one."""
    with on_mongo.database() as database:
        database["a"].insert_many([{"u": 1}, {"u": 2}, {"u": None}, {}, {"x": 1}])
        database["b"].insert_many([{"u": 2}, {"u": None}, {"u": 3, "v": None}])
    for key in (None, lambda value: value):
        cls = migration(lambda entity: None, keys=(Keys("a", "u", key=key), Keys("b", "u", key=key)))
        census = on_mongo.store.census(cls)
        assert (census.null, census.nulls) == (4, {"a": 3, "b": 1})
    cls = migration(lambda entity: None, keys=Keys("b", "u", "v"))
    assert (on_mongo.store.census(cls).total, on_mongo.store.census(cls).nulls) == (2, {"b": 1})


def test_the_message_says_where_each_type_is(on_mongo: Engine) -> None:
    """With several sources, whoever is to mend it must know in which."""
    with on_mongo.database() as database:
        database["a"].insert_many([{"u": 1}, {"u": 2}])
        database["b"].insert_many([{"u": 1}, {"u": "x"}])
    cls = migration(lambda entity: None, keys=(Keys("a", "u"), Keys("b", "u")))
    with pytest.raises(UsageError, match=r"\(int in a\.u, b\.u; text in b\.u\)"):
        on_mongo.store.census(cls)
