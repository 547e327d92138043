"""A key that the database finds equal to an entity's, and that is written otherwise, is no second entity."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from bson import Decimal128
from bson.son import SON

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from backtrail.keys import parse_key
from tests.engine import Engine, migration

SPELLED = [
    ("numeric(12,4)", "1.5", "1.5000", "1.5"),
    ("numeric", "1.50", "1.50", "1.5"),
    ("numeric[]", "{1.0}", "{1.0}", "{1.00}"),
    ("numrange", "[1.0,2.0)", "[1.0,2.0)", "[1,2)"),
    ("timestamptz", "2020-01-01 00:00:00+00", "2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00"),
    ("timestamptz", "2020-01-01 00:00:00+00", "2020-01-01T00:00:00+00:00", "2020-01-01T02:00:00+02:00"),
    ("char(5)", "ab", "ab   ", "ab"),
    ("inet", "10.0.0.1", "10.0.0.1", "10.0.0.1/32"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03", "08:00:2B:01:02:03"),
    ("citext", "Ann", "Ann", "ann"),
    ("email", "Ann", "Ann", "ann"),
    ("citext[]", "{Ann}", "{Ann}", "{ann}"),
]
"""A type, a value, the entity's key and another spelling of it."""


def copying(**attributes: Any) -> type[Migration]:
    """A migration that makes one row for each entity."""
    return migration(
        lambda entity: entity.create("o", {"v": entity.one("users")["note"]}),
        reads=(Rows("users", by="k"),),
        writes=("o",),
        **({"keys": Keys("users", "k")} | attributes),
    )


@pytest.mark.parametrize(("kind", "value", "key", "other"), SPELLED)
def test_another_spelling(on_postgres: Engine, kind: str, value: str, key: str, other: str) -> None:
    """Whoever names it is told the spelling that is known, by every command that takes keys, and nothing is done."""
    on_postgres.script("CREATE EXTENSION citext; CREATE DOMAIN mail AS citext; CREATE DOMAIN email AS mail CHECK (VALUE <> '')")
    on_postgres.script(f"CREATE TABLE users (k {kind} PRIMARY KEY, note text); CREATE TABLE o (id serial PRIMARY KEY, v text)")
    on_postgres.execute("INSERT INTO users VALUES (?, 'x')", value)
    cls = copying()
    for order in ("migrate", "rollback", "rerun"):
        with pytest.raises(UsageError, match="known as ") as refused:
            on_postgres.open(cls, order, only=(other,))
        assert repr(key) in str(refused.value)
    assert on_postgres.migrate(cls, only=(key,))["migrated"] == 1
    assert on_postgres.states(cls) == {key: "migrated"}
    with pytest.raises(UsageError, match="known as "):
        on_postgres.open(cls, "migrate", only=(other,))
    assert on_postgres.rollback(cls, only=(key,))["rolled_back"] == 1


def test_another_spelling_on_sqlite(on_sqlite: Engine) -> None:
    """A column whose collation folds cases finds both, and knows one."""
    on_sqlite.script("CREATE TABLE users (k TEXT COLLATE NOCASE, note TEXT); CREATE TABLE o (id INTEGER PRIMARY KEY, v TEXT)")
    on_sqlite.script("INSERT INTO users VALUES ('Ann', 'x'), ('BOB', 'y'), ('Bob', 'z')")
    cls = copying()
    with pytest.raises(UsageError, match="known as 'Ann'"):
        on_sqlite.open(cls, "migrate", only=("ann",))
    with pytest.raises(UsageError, match="known as 'BOB' or 'Bob'"):
        on_sqlite.open(cls, "migrate", only=("bob",))
    assert on_sqlite.migrate(cls, only=("Ann", "Bob"))["migrated"] == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("value", "key", "other"),
    [
        (Decimal128("0.1"), "0.1", "0.10"),
        (dt.datetime(2020, 1, 1), "2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00"),
        (dt.datetime(2020, 1, 1), "2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00.000001+00:00"),
        (2**53, "9007199254740992", None),
        ("Ann", "Ann", None),
    ],
)
def test_another_spelling_on_mongo(on_mongo: Engine, value: Any, key: str, other: str | None) -> None:
    """MongoDB finds decimals and times equal however they are written."""
    with on_mongo.database() as database:
        database.users.insert_one(SON(_id=1, k=value, note="x"))
        database.create_collection("o")
    cls = copying()
    assert on_mongo.migrate(cls)["migrated"] == 1
    assert on_mongo.states(cls) == {key: "migrated"}
    if other is not None:
        for order in ("migrate", "rollback"):
            with pytest.raises(UsageError, match="known as ") as refused:
                on_mongo.open(cls, order, only=(other,))
            assert repr(key) in str(refused.value)
    assert on_mongo.rollback(cls, only=(key,))["rolled_back"] == 1


def test_a_part_of_a_key_is_spelled_otherwise(on_postgres: Engine) -> None:
    """Keys of several columns are compared as a whole."""
    on_postgres.script("CREATE TABLE s (u int, at timestamptz, v text, PRIMARY KEY (u, at))")
    on_postgres.script("INSERT INTO s VALUES (1, '2020-01-01 00:00:00+00', 'old')")
    cls = migration(lambda entity: None, keys=Keys("s", "u", "at"), reads=(Rows("s", by=("u", "at")),))
    with pytest.raises(UsageError, match="known as ") as refused:
        on_postgres.open(cls, "migrate", only=('[1,"2020-01-01T00:00:00"]',))
    assert repr('[1,"2020-01-01T00:00:00+00:00"]') in str(refused.value)


def test_an_entity_that_is_respelled_before_its_turn(on_postgres: Engine) -> None:
    """The worker finds it vanished: what has come in its place is another entity."""
    on_postgres.script(
        "CREATE EXTENSION citext; CREATE TABLE users (k citext, note text); CREATE TABLE o (id serial PRIMARY KEY, v text)"
    )
    on_postgres.script("INSERT INTO users VALUES ('Ann', 'x')")
    cls = copying()
    campaign = on_postgres.open(cls, "migrate", only=("Ann",))
    on_postgres.script("UPDATE users SET k = 'ANN'")
    assert on_postgres.run(campaign)["skipped"] == 1
    assert on_postgres.migrate(cls)["migrated"] == 1
    assert on_postgres.states(cls) == {"Ann": "vanished", "ANN": "migrated"}


def test_spellings_of_several_sources(everywhere: Engine) -> None:
    """A key that one source has is there, whatever the others hold."""
    everywhere.table("a", k=str)
    everywhere.table("b", k=str)
    everywhere.add("a", ("x",), ("y",))
    everywhere.add("b", ("y",), ("z",))
    cls = migration(lambda entity: None, keys=(Keys("a", "k"), Keys("b", "k")))
    keys = [parse_key(text, ("text",)) for text in ("z", "nobody", "y", "x")]
    with everywhere.store.transaction(write=False) as tx:
        assert everywhere.store.existing(tx, cls, keys) == {0, 2, 3}
        assert everywhere.store.known_as(tx, cls, "y") == ["y"]
        assert everywhere.store.known_as(tx, cls, "nobody") == []


def test_entities_that_differ_in_case_alone(on_postgres: Engine) -> None:
    """Of a domain over a type that folds cases, each spelling is an entity with its own rows."""
    on_postgres.script("CREATE EXTENSION citext; CREATE DOMAIN email AS citext")
    on_postgres.script("CREATE TABLE users (id int PRIMARY KEY, k email); INSERT INTO users VALUES (1, 'Ann'), (2, 'ann')")
    on_postgres.script("CREATE TABLE o (id serial PRIMARY KEY, k text, n int)")
    cls = migration(
        lambda entity: entity.create("o", {"k": entity.key, "n": len(entity.rows("users"))}),
        keys=Keys("users", "k"),
        reads=(Rows("users", by="k"),),
        writes=("o",),
    )
    assert on_postgres.migrate(cls)["migrated"] == 2
    assert sorted(on_postgres.query("SELECT k, n FROM o")) == [("Ann", 1), ("ann", 1)]
