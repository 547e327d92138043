"""Going back after the schema changed: what came is kept, what went is named, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from producer.drift import DriftFound
from tests.engine import Engine, migration


def world(engine: Engine) -> Any:
    """Three users with a nickname, who are renamed, lose a note and get a card."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text, nick text); INSERT INTO users VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z');"
        "CREATE TABLE notes (id integer PRIMARY KEY, user_id integer, text text); INSERT INTO notes VALUES (11, 1, 'n1'), (12, 2, 'n2'), (13, 3, 'n3');"
        "CREATE TABLE cards (id integer PRIMARY KEY, user_id integer)"
    )

    def migrate(entity: Any) -> None:
        entity.update(entity.one("users"), {"name": entity.one("users")["name"] + "!"})
        entity.delete(entity.one("notes"))
        entity.create("cards", {"id": entity.key + 20, "user_id": entity.key})

    cls = migration(
        migrate,
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"), Rows("notes", by="user_id")),
        writes=("users", "notes", "cards"),
    )
    assert engine.migrate(cls)["migrated"] == 3
    return cls


def test_a_column_that_was_added(engine: Engine) -> None:
    """It keeps its live value in rows that stand, and has its default in rows that come back or are made again."""
    cls = world(engine)
    engine.script(
        "ALTER TABLE users ADD COLUMN plan text DEFAULT 'free'; ALTER TABLE notes ADD COLUMN seen integer DEFAULT 7;"
        "ALTER TABLE cards ADD COLUMN colour text DEFAULT 'red'; UPDATE users SET plan = 'gold' WHERE id = 2"
    )
    engine.store.forget()
    stands = [(1, "a", "x", "free"), (2, "b", "y", "gold"), (3, "c", "z", "free")]
    for _ in range(2):
        back = engine.rollback(cls)
        assert back["rolled_back"] == 3, engine.failures(cls)
        assert engine.query("SELECT * FROM users ORDER BY id") == stands
        assert engine.query("SELECT * FROM notes ORDER BY id") == [(11, 1, "n1", 7), (12, 2, "n2", 7), (13, 3, "n3", 7)]
        assert engine.redo(cls, back["campaign"])["migrated"] == 3, engine.failures(cls)
        assert engine.query("SELECT * FROM users WHERE id = 2") == [(2, "b!", "y", "gold")]
        assert engine.query("SELECT * FROM cards ORDER BY id") == [(21, 1, "red"), (22, 2, "red"), (23, 3, "red")]


def test_a_computed_column_that_was_added(engine: Engine) -> None:
    """The database computes it; it stands in nobody's way."""
    cls = world(engine)
    stored = "STORED" if engine.postgres else "VIRTUAL"
    engine.script(f"ALTER TABLE users ADD COLUMN long text GENERATED ALWAYS AS (name || nick) {stored}")
    assert engine.rollback(cls)["rolled_back"] == 3, engine.failures(cls)
    assert engine.query("SELECT long FROM users ORDER BY id") == [("ax",), ("by",), ("cz",)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE users DROP COLUMN nick", "was text and is gone"),
        ("ALTER TABLE users RENAME COLUMN nick TO alias", "was text and is gone"),
        ("retype", "was text and is"),
    ],
)
def test_a_column_that_is_not_what_it_was(engine: Engine, change: str, said: str) -> None:
    """Dropped, renamed or retyped: nothing goes back, and the column and both types are named, beforehand and by the worker."""
    cls = world(engine)
    if change == "retype":
        change = (
            "ALTER TABLE users ALTER COLUMN nick TYPE varchar(9)"
            if engine.postgres
            else "CREATE TABLE u2 (id integer PRIMARY KEY, name text, nick varchar(9)); INSERT INTO u2 SELECT * FROM users; DROP TABLE users; ALTER TABLE u2 RENAME TO users"
        )
    engine.script(change)
    after = engine.dump("users", "notes", "cards")
    engine.fresh_worker()
    engine.store.forget()
    with pytest.raises(DriftFound) as refused:
        engine.rollback(cls)
    (line,) = refused.value.drifted["2"]
    assert "users" in line and "nick" in line and said in line.lower()
    state = engine.rollback(cls, options={"on_drift": "skip", "from": "streams"})
    assert state["skipped"] == 3
    remark = next(event for event in engine.events(cls, "2") if event.kind == "remark")
    assert "users.nick" in str(remark.facts) and said in str(remark.facts).lower()
    assert engine.dump("users", "notes", "cards") == after


def test_a_column_of_deleted_rows_that_is_gone(engine: Engine) -> None:
    """Rows that are not there cannot differ; that they cannot come back whole is found by the worker, for each entity, and named."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3);"
        "CREATE TABLE notes (id integer PRIMARY KEY, user_id integer, text text); INSERT INTO notes VALUES (11, 1, 'n1'), (12, 2, 'n2')"
    )
    cls = migration(
        lambda entity: [entity.delete(row) for row in entity.rows("notes")],
        keys=Keys("users", "id"),
        reads=(Rows("notes", by="user_id"),),
        writes=("notes",),
    )
    assert engine.migrate(cls)["migrated"] == 3
    engine.script("ALTER TABLE notes DROP COLUMN text")
    engine.store.forget()
    state = engine.rollback(cls)
    assert (state["rolled_back"], state["failed"]) == (1, 2)
    assert "notes.text was" in engine.failures(cls)["1"]["reason"]
    assert engine.query("SELECT count(*) FROM notes") == [(0,)]


@pytest.mark.parametrize("change", ["DROP TABLE cards", "ALTER TABLE cards RENAME TO badges"])
def test_a_table_that_is_gone(engine: Engine, change: str) -> None:
    """A table that was dropped or renamed is named, and nothing is changed."""
    cls = world(engine)
    engine.script(change)
    engine.fresh_worker()
    engine.store.forget()
    after = engine.dump("users", "notes")
    with pytest.raises(UsageError, match="no table named 'cards'"):
        engine.rollback(cls)
    assert engine.dump("users", "notes") == after


def test_a_column_that_is_computed_now(on_postgres: Engine) -> None:
    """A column that was plain and is computed cannot be given its old value: said by its name, and nothing is changed."""
    cls = world(on_postgres)
    on_postgres.script(
        "ALTER TABLE users DROP COLUMN nick; ALTER TABLE users ADD COLUMN nick text GENERATED ALWAYS AS (upper(name)) STORED"
    )
    on_postgres.fresh_worker()
    on_postgres.store.forget()
    after = on_postgres.dump("users", "notes", "cards")
    with pytest.raises(DriftFound):
        on_postgres.rollback(cls)
    assert on_postgres.dump("users", "notes", "cards") == after
