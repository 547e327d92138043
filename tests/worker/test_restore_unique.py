"""Going back where values must be unique: they change hands within a job or a batch, and who took one meanwhile is named."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Rows
from tests.engine import Engine, migration

INDEXES = {
    "plain": "CREATE UNIQUE INDEX one_name ON users (name)",
    "partial": "CREATE UNIQUE INDEX one_name ON users (name) WHERE active = 1",
    "expression": "CREATE UNIQUE INDEX one_name ON users (lower(name))",
}


def people(engine: Engine, index: str = INDEXES["plain"], null: str = "") -> None:
    """Four users, and what each is to be called."""
    engine.script(
        f"CREATE TABLE users (id integer PRIMARY KEY, name text {null}, active integer, wanted text); {index};"
        "INSERT INTO users VALUES (1, 'a', 1, 'b'), (2, 'b', 1, 'c'), (3, 'c', 1, 'd'), (4, 'e', 1, 'f')"
    )


def renaming() -> Any:
    return migration(
        lambda entity: entity.update(entity.one("users"), {"name": entity.one("users")["wanted"]}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )


@pytest.mark.parametrize("null", ["", "NOT NULL"])
@pytest.mark.parametrize("index", INDEXES)
def test_values_that_change_hands_between_entities(engine: Engine, index: str, null: str) -> None:
    """Every user takes the name of the next: in one batch that works there, back, and there again."""
    people(engine, INDEXES[index], null)
    before = engine.dump("users")
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 4, engine.failures(cls)
    after = engine.dump("users")
    assert engine.query("SELECT name FROM users ORDER BY id") == [("b",), ("c",), ("d",), ("f",)]
    for _ in range(3):
        back = engine.rollback(cls)
        assert back["rolled_back"] == 4, engine.failures(cls)
        assert engine.dump("users") == before
        assert engine.redo(cls, back["campaign"])["migrated"] == 4, engine.failures(cls)
        assert engine.dump("users") == after


def test_values_in_a_ring(engine: Engine) -> None:
    """Users who exchange their names all round, of whom none could be first."""
    people(engine)
    engine.script("UPDATE users SET wanted = 'a' WHERE id = 3")
    before = engine.dump("users")
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 4, engine.failures(cls)
    assert engine.query("SELECT name FROM users ORDER BY id") == [("b",), ("c",), ("a",), ("f",)]
    assert engine.rollback(cls)["rolled_back"] == 4, engine.failures(cls)
    assert engine.dump("users") == before


def test_values_of_rows_that_come_and_go(engine: Engine) -> None:
    """One entity's deleted row leaves its value to another's new row; both go back in one batch."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3);"
        "CREATE TABLE seats (id integer PRIMARY KEY, user_id integer, place text UNIQUE);"
        "INSERT INTO seats VALUES (1, 1, 's1'), (2, 2, 's2'), (3, 3, 's3')"
    )

    def move(entity: Any) -> None:
        entity.delete(entity.one("seats"))
        entity.create("seats", {"id": entity.key + 10, "user_id": entity.key, "place": f"s{entity.key % 3 + 1}"})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("seats", by="user_id"),), writes=("seats",))
    before = engine.dump("seats")
    assert engine.migrate(cls)["migrated"] == 3, engine.failures(cls)
    after = engine.dump("seats")
    back = engine.rollback(cls)
    assert back["rolled_back"] == 3, engine.failures(cls)
    assert engine.dump("seats") == before
    assert engine.redo(cls, back["campaign"])["migrated"] == 3, engine.failures(cls)
    assert engine.dump("seats") == after


def test_values_that_were_left_to_a_later_entity(engine: Engine) -> None:
    """One entity gives its seat up, the next takes its place, and nobody can sit nowhere: going back the last goes first."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
        "CREATE TABLE seats (id integer PRIMARY KEY, user_id integer, place text NOT NULL UNIQUE);"
        "INSERT INTO seats VALUES (1, 1, 's1'), (2, 2, 's2')"
    )

    def move(entity: Any) -> None:
        entity.delete(entity.one("seats"))
        if entity.key == 2:
            entity.create("seats", {"id": 12, "user_id": 2, "place": "s1"})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("seats", by="user_id"),), writes=("seats",))
    before = engine.dump("seats")
    assert engine.migrate(cls)["migrated"] == 2, engine.failures(cls)
    after = engine.dump("seats")
    assert engine.query("SELECT * FROM seats") == [(12, 2, "s1")]
    back = engine.rollback(cls)
    assert back["rolled_back"] == 2, engine.failures(cls)
    assert engine.dump("seats") == before
    assert engine.redo(cls, back["campaign"])["migrated"] == 2, engine.failures(cls)
    assert engine.dump("seats") == after


def test_periods_that_exclude_each_other(on_postgres: Engine) -> None:
    """Under an exclusion constraint, periods move on there and back, and who took one meanwhile is in the way."""
    on_postgres.script(
        "CREATE TABLE stays (id integer PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));"
        "INSERT INTO stays SELECT n, int4range(n * 10, n * 10 + 10) FROM generate_series(1, 4) n"
    )
    before = on_postgres.dump("stays")

    def move(entity: Any) -> None:
        entity.update(entity.one("stays"), {"during": f"[{entity.key * 10 + 5},{entity.key * 10 + 15})"})

    cls = migration(move, keys=Keys("stays", "id"), reads=(Rows("stays", by="id"),), writes=("stays",))
    assert on_postgres.migrate(cls)["migrated"] == 4, on_postgres.failures(cls)
    on_postgres.script("INSERT INTO stays VALUES (9, '[10,12)')")
    after = on_postgres.dump("stays")
    assert on_postgres.rollback(cls)["failed"] == 4, "each waits for the one before, and that one for the stranger"
    assert "stays_during_excl" in on_postgres.failures(cls)["1"]["reason"]
    assert on_postgres.dump("stays") == after
    on_postgres.script("DELETE FROM stays WHERE id = 9")
    assert on_postgres.rollback(cls)["rolled_back"] == 4
    assert on_postgres.dump("stays") == before


@pytest.mark.parametrize("index", INDEXES)
def test_a_value_that_was_taken(engine: Engine, index: str) -> None:
    """Somebody new has the old name: that one entity is refused, by constraint and by who holds it; the others go back."""
    people(engine, INDEXES[index])
    engine.script("UPDATE users SET wanted = name || '!'")
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 4
    engine.script("INSERT INTO users VALUES (77, 'b', 1, 'x'), (78, 'z', 0, 'x')")
    if index == "partial":
        engine.script("INSERT INTO users VALUES (79, 'b', 0, 'x')")
    state = engine.rollback(cls)
    assert (state["rolled_back"], state["failed"]) == (3, 1), engine.failures(cls)
    reason = engine.failures(cls)["2"]["reason"]
    assert "users" in reason and ("name" in reason)
    if index != "expression" or engine.postgres:
        assert "77" in reason and "79" not in reason, reason
    assert "'b'" not in reason
    engine.script("DELETE FROM users WHERE id > 70")
    assert engine.rollback(cls)["rolled_back"] == 1


@pytest.mark.parametrize("other", [None, "a", "a.b, c"])
@pytest.mark.parametrize("columns", [("x, y",), ("x, y", "z"), ("z", "x.y")])
def test_names_with_dots_and_commas(engine: Engine, columns: tuple[str, ...], other: str | None) -> None:
    """Whoever holds a value is found whatever the table and its columns are called."""
    quoted = ", ".join(f'"{name}"' for name in columns)
    kinds = ", ".join(f'"{name}" text' for name in columns)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'alice'), (2, 'bob')")
    engine.script(f'CREATE TABLE "a.b" (id integer PRIMARY KEY, {kinds}); CREATE UNIQUE INDEX one ON "a.b" ({quoted})')
    values = ", ".join(["'alice'"] * len(columns))
    engine.script(f'INSERT INTO "a.b" VALUES (7, {values})')
    if other is not None:
        engine.script(f'CREATE TABLE "{other}" (id integer PRIMARY KEY)')

    def name(entity: Any) -> None:
        entity.create("a.b", {"id": entity.key, **dict.fromkeys(columns, entity.one("users")["name"])})
        if other is not None:
            entity.create(other, {"id": entity.key})

    cls = migration(
        name,
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("a.b", *([] if other is None else [other])),
    )
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (1, 1), state["halted"]
    assert engine.failures(cls)["1"]["reason"].startswith("a.b: what must be unique by ")
    assert "is held by 1 row(s) of a.b now: 7;" in engine.failures(cls)["1"]["reason"]


def test_a_key_with_a_name_of_ours(engine: Engine) -> None:
    """Whoever holds a value is found also where the key is called as something is in the question who does."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2)")
    engine.script(
        "CREATE TABLE t (e0 integer, k0 integer, name text UNIQUE, PRIMARY KEY (k0, e0)); INSERT INTO t VALUES (50, 60, 'n1')"
    )
    cls = migration(
        lambda entity: entity.create("t", {"e0": entity.key, "k0": entity.key, "name": f"n{entity.key}"}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("t",),
    )
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (1, 1), state["halted"]
    assert "now: [" in engine.failures(cls)["1"]["reason"]


def test_a_value_of_a_deleted_row_that_was_taken(engine: Engine) -> None:
    """A deleted row's unique value belongs to a new row now: refused and named, and nothing half done."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3);"
        "CREATE TABLE codes (id integer PRIMARY KEY, user_id integer, code text UNIQUE); INSERT INTO codes VALUES (1, 1, 'x1'), (2, 2, 'x2'), (3, 3, 'x3')"
    )
    cls = migration(
        lambda entity: entity.delete(entity.one("codes")),
        keys=Keys("users", "id"),
        reads=(Rows("codes", by="user_id"),),
        writes=("codes",),
    )
    assert engine.migrate(cls)["migrated"] == 3
    engine.script("INSERT INTO codes VALUES (50, NULL, 'x2')")
    state = engine.rollback(cls)
    assert (state["rolled_back"], state["failed"]) == (2, 1)
    reason = engine.failures(cls)["2"]["reason"]
    assert "code" in reason and "50" in reason
    assert engine.query("SELECT id FROM codes ORDER BY id") == [(1,), (3,), (50,)]


def test_a_key_that_was_taken(everywhere: Engine) -> None:
    """A deleted row's primary key is another row's now: it stays that row's, and the key is named."""
    everywhere.table("users", id=int)
    everywhere.table("codes", id=int, user_id=int, code=str)
    everywhere.add("users", (1,), (2,), (3,))
    everywhere.add("codes", (11, 1, "a"), (12, 2, "b"), (13, 3, "c"))
    cls = migration(
        lambda entity: entity.delete(entity.one("codes")),
        keys=Keys("users", everywhere.id),
        reads=(Rows("codes", by="user_id"),),
        writes=("codes",),
    )
    assert everywhere.migrate(cls)["migrated"] == 3
    everywhere.add("codes", (12, None, "new"))
    stood = everywhere.rows("codes", "id", "code")
    state = everywhere.rollback(cls, only=["2"], options={"on_drift": "skip"})
    assert state["skipped"] == 1
    assert everywhere.rows("codes", "id", "code") == stood
    with pytest.raises(Exception, match="1 of the entities changed since") as refused:
        everywhere.rollback(cls)
    assert "taken again" in refused.value.drifted["2"][0]  # type: ignore[attr-defined]
    assert "12" in refused.value.drifted["2"][0]  # type: ignore[attr-defined]


def test_a_unique_field_that_was_taken(on_mongo: Engine) -> None:
    """On MongoDB: another document has the old value now: that one is refused by the index's name, the others go back."""
    on_mongo.table("users", id=int, name=str, unique=["name"])
    on_mongo.add("users", (1, "a"), (2, "b"), (3, "c"))
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"name": entity.one("users")["name"] + "!"}),
        keys=Keys("users", "_id"),
        reads=(Rows("users", by="_id"),),
        writes=("users",),
    )
    assert on_mongo.migrate(cls)["migrated"] == 3
    on_mongo.add("users", (77, "b"))
    state = on_mongo.rollback(cls)
    assert (state["rolled_back"], state["failed"]) == (2, 1)
    reason = on_mongo.failures(cls)["2"]["reason"]
    assert "name_1" in reason and "77" in reason, reason


def test_fields_that_change_hands_between_entities(on_mongo: Engine) -> None:
    """On MongoDB, too: names that go round within one batch."""
    on_mongo.table("users", id=int, name=str, wanted=str, unique=["name"])
    on_mongo.add("users", (1, "a", "b"), (2, "b", "c"), (3, "c", "a"))
    before = on_mongo.dump("users")
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"name": entity.one("users")["wanted"]}),
        keys=Keys("users", "_id"),
        reads=(Rows("users", by="_id"),),
        writes=("users",),
    )
    assert on_mongo.migrate(cls)["migrated"] == 3, on_mongo.failures(cls)
    after = on_mongo.dump("users")
    back = on_mongo.rollback(cls)
    assert back["rolled_back"] == 3, on_mongo.failures(cls)
    assert on_mongo.dump("users") == before
    assert on_mongo.redo(cls, back["campaign"])["migrated"] == 3
    assert on_mongo.dump("users") == after
