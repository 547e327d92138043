"""Nobody's edit is lost, and nobody is migrated from a state that is old or never was."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backtrail import Keys, Rows
from backtrail.stores.writing import SqlTransaction
from tests.engine import Engine, migration


def test_an_edit_between_read_and_commit_waits(on_postgres: Engine) -> None:
    """Somebody who edits a row that was just read waits for the commit: the edit is there afterwards, and nothing was lost."""
    on_postgres.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text, score integer); CREATE TABLE people (id integer PRIMARY KEY, name text)"
    )
    on_postgres.script("INSERT INTO users VALUES (1, 'old', 0), (2, 'old', 0)")
    editor = threading.Thread(target=on_postgres.execute, args=("UPDATE users SET name = 'edited' WHERE id = ?", 1))
    committed = threading.Event()

    def move(entity: Any) -> None:
        row = entity.one("users")
        if entity.key == 1 and not editor.ident:
            editor.start()
            editor.join(0.3)
            assert editor.is_alive()  # it waits
            assert not committed.is_set()
        entity.create("people", {"id": entity.key, "name": row["name"]})
        entity.update(row, {"score": 1})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("people", "users"))
    assert on_postgres.migrate(cls)["migrated"] == 2, on_postgres.failures(cls)
    editor.join(30)
    assert on_postgres.query("SELECT id, name, score FROM users ORDER BY id") == [(1, "edited", 1), (2, "old", 1)]
    assert on_postgres.query("SELECT name FROM people WHERE id = 1") == [("old",)]


def count(engine: Engine, rest: int) -> None:
    """What the application does: it counts up in every third of the rows that are not migrated yet."""
    if engine.mongo:
        with engine.database() as database:
            database["users"].update_many({"done": 0, "_id": {"$mod": [3, rest]}}, {"$inc": {"n": 1}})
    else:
        engine.execute("UPDATE users SET n = n + 1 WHERE done = 0 AND id % 3 = ?", rest)


def test_an_edit_between_read_and_write_is_read_again(on_mongo: Engine) -> None:
    """On MongoDB nobody waits: a document that somebody edits after it was read is read anew, and decided anew."""
    on_mongo.table("users", id=int, name=str, score=int)
    on_mongo.table("people", id=int, name=str)
    on_mongo.add("users", (1, "old", 0), (2, "old", 0))
    seen: list[str] = []

    def move(entity: Any) -> None:
        row = entity.one("users")
        if entity.key == 1:
            seen.append(row["name"])
            if len(seen) == 1:
                on_mongo.change("users", {"name": "edited"}, id=1)
        entity.create("people", {"_id": entity.key, "name": row["name"]})
        entity.update(row, {"score": 1})

    cls = migration(move, keys=Keys("users", "_id"), reads=(Rows("users", by="_id"),), writes=("people", "users"))
    assert on_mongo.migrate(cls)["migrated"] == 2, on_mongo.failures(cls)
    assert (seen[0], seen[-1]) == ("old", "edited")
    assert on_mongo.rows("users") == [(1, "edited", 1), (2, "old", 1)]
    assert on_mongo.rows("people") == [(1, "edited"), (2, "old")]


def test_an_application_that_goes_on_writing(everywhere: Engine) -> None:
    """An application counts up all the time in rows that are not migrated yet: what is migrated is the last count."""
    everywhere.table("users", id=int, n=int, done=int)
    everywhere.table("people", id=int, n=int)
    everywhere.add("users", *((at, 0, 0) for at in range(60)))
    stop = threading.Event()
    counted = [0]

    def count_up() -> None:
        while not stop.is_set():
            count(everywhere, counted[0] % 3)
            counted[0] += 1
            if everywhere.mongo:
                stop.wait(
                    0.01
                )  # nobody makes it wait, and somebody who writes everything all the time would be in the way all the time

    application = threading.Thread(target=count_up)
    application.start()
    try:

        def move(entity: Any) -> None:
            row = entity.one("users")
            entity.create("people", {everywhere.id: entity.key, "n": row["n"]})
            entity.update(row, {"done": 1})

        cls = migration(
            move, keys=Keys("users", everywhere.id), reads=(Rows("users", by=everywhere.id),), writes=("people", "users")
        )
        state = everywhere.migrate(cls, batch_size=5)
    finally:
        stop.set()
        application.join(30)
    assert (state["migrated"], state["failed"]) == (60, 0), everywhere.failures(cls)
    assert counted[0] > 3
    users = everywhere.rows("users", "id", "n", "done")
    assert [(key, n) for key, n, _ in users] == everywhere.rows("people", "id", "n")
    assert {done for _, _, done in users} == {1}
    assert max(n for _, n, _ in users) > 0


@pytest.mark.parametrize("first", ["a", "b"])
def test_rows_that_are_added_while_others_are_read(on_postgres: Engine, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """A pair of rows that somebody adds in one transaction is seen whole or not at all."""
    on_postgres.script(
        "CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE a (id serial PRIMARY KEY, user_id integer); CREATE TABLE b (id serial PRIMARY KEY, user_id integer);"
        "CREATE TABLE seen (user_id integer PRIMARY KEY, a integer, b integer); INSERT INTO users SELECT generate_series(1, 5); INSERT INTO a (user_id) SELECT 1; INSERT INTO b (user_id) SELECT 1"
    )
    reading, times = SqlTransaction.join_rows, [0]

    def disturbed(self: SqlTransaction, table: Any, *arguments: Any, **options: Any) -> Any:
        found = reading(self, table, *arguments, **options)
        if table.name == first and times[0] < 2:
            times[0] += 1
            on_postgres.script("INSERT INTO a (user_id) VALUES (1), (2); INSERT INTO b (user_id) VALUES (1), (2)")
        return found

    monkeypatch.setattr(SqlTransaction, "join_rows", disturbed)
    cls = migration(
        lambda entity: entity.create("seen", {"user_id": entity.key, "a": len(entity.rows("a")), "b": len(entity.rows("b"))}),
        keys=Keys("users", "id"),
        reads=(Rows("a", by="user_id"), Rows("b", by="user_id")),
        writes=("seen",),
    )
    assert on_postgres.migrate(cls)["migrated"] == 5
    assert times[0] > 0
    assert on_postgres.query("SELECT * FROM seen WHERE a <> b") == []


def test_a_row_that_refers_to_one_that_goes(on_postgres: Engine) -> None:
    """Somebody who adds a reference while the row is being deleted waits; with ON DELETE CASCADE his row would be gone unseen."""
    on_postgres.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE notes (id integer PRIMARY KEY, user_id integer REFERENCES users ON DELETE CASCADE);"
        "INSERT INTO users SELECT g, 'u' FROM generate_series(1, 3) g"
    )
    import psycopg

    with psycopg.connect(on_postgres.url) as other:
        other.execute("INSERT INTO notes VALUES (7, 2)")
        committer = threading.Timer(0.4, other.commit)
        cls = migration(
            lambda entity: (
                committer.start() if entity.key == 2 and not committer.ident else None or entity.delete(entity.one("users"))
            ),
            keys=Keys("users", "id"),
            reads=(Rows("users", by="id"),),
            writes=("users",),
        )
        # migrate is pure but for the timer, which starts once: the row of 2 is deleted on every run but the first.
        state = on_postgres.migrate(cls, only=["1", "3", "2"])
        committer.join()
    assert state["state"] in ("completed", "halted")
    assert on_postgres.query("SELECT * FROM notes") == [(7, 2)]
    assert on_postgres.query("SELECT count(*) FROM users WHERE id = 2") == [(1,)]
