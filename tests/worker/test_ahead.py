"""What is decided before SQLite's only write lock is taken: nobody waits for it, and it counts only while nothing has changed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backtrail import Entity, Keys, Rows, job
from tests.engine import Engine, migration
from worker import tasks

TABLES = (
    "CREATE TABLE users (id integer PRIMARY KEY, value, done integer); CREATE TABLE people (id integer PRIMARY KEY, value, at text);"
    "INSERT INTO users VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0)"
)


def meddled(engine: Engine, meddle: Any, moments: list[dt.datetime] | None = None) -> Any:
    """A migration of the three users, in whose first look at the first one somebody meddles."""
    looks: list[Any] = []

    def move(user: Entity) -> None:
        row = user.one("users")
        if user.key == 1:
            looks.append(row["value"])
            if len(looks) == 1:
                meddle()
        if moments is not None:
            moments.append(user.now)
        user.create("people", {"id": user.key, "value": row["value"], "at": user.now})
        user.update(row, {"done": 1})

    engine.script(TABLES)
    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("people", "users"))
    cls.looks = looks
    return cls


def test_whoever_writes_meanwhile_does_not_wait(on_sqlite: Engine) -> None:
    """The application writes while `migrate` runs; what it wrote elsewhere changes nothing about the decision, which is taken once."""
    cls = meddled(on_sqlite, lambda: on_sqlite.script("CREATE TABLE other (id integer); INSERT INTO other VALUES (1)"))
    state = on_sqlite.migrate(cls)
    assert (state["migrated"], state["failed"]) == (3, 0), on_sqlite.failures(cls)
    assert on_sqlite.query("SELECT count(*) FROM other") == [(1,)]
    # Looked at before the lock, and once more as the first of its batch, to see that the decision is pure.
    assert cls.looks == [1, 1]


@pytest.mark.parametrize("value", ["1.0", "'1'", "x'31'", "NULL", "7"])
def test_a_row_that_is_not_the_same_any_more_is_decided_anew(on_sqlite: Engine, value: str) -> None:
    """Somebody edits a row in between, be it to a value that Python finds equal: everybody is decided anew, from what stands there."""
    cls = meddled(on_sqlite, lambda: on_sqlite.execute(f"UPDATE users SET value = {value} WHERE id = 1"))
    state = on_sqlite.migrate(cls)
    assert (state["migrated"], state["failed"]) == (3, 0), on_sqlite.failures(cls)
    assert len(cls.looks) > 2
    ((kind, shown),) = on_sqlite.query("SELECT typeof(value), quote(value) FROM people WHERE id = 1")
    assert on_sqlite.query("SELECT typeof(value), quote(value), done FROM users WHERE id = 1") == [(kind, shown, 1)]
    assert [(kind, shown)] == on_sqlite.query(f"SELECT typeof({value}), quote({value})")


def test_a_negative_zero_is_another_value(on_sqlite: Engine) -> None:
    """0.0 and -0.0 are one value to Python, and two to a rollback."""
    cls = meddled(on_sqlite, lambda: on_sqlite.execute("UPDATE users SET value = ? WHERE id = 1", -0.0))
    on_sqlite.execute("UPDATE users SET value = ? WHERE id = 1", 0.0)
    assert on_sqlite.migrate(cls)["migrated"] == 3
    assert [repr(value) for (value,) in on_sqlite.query("SELECT value FROM people WHERE id = 1")] == ["-0.0"]


@pytest.mark.parametrize("change", ["SELECT 1", "UPDATE users SET value = 9 WHERE id = 3"])
def test_the_time_is_one(on_sqlite: Engine, change: str) -> None:
    """`now` is the same in the rows and in the events of all entities of the batch, also where it had to be decided anew."""
    moments: list[dt.datetime] = []
    cls = meddled(on_sqlite, lambda: on_sqlite.execute(change), moments)
    assert on_sqlite.migrate(cls)["migrated"] == 3
    assert len(moments) > 3
    assert {event.at for key in "123" for event in on_sqlite.events(cls, key)} == {round(moments[-1].timestamp() * 1000)}
    (stamp,) = {dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC) for (at,) in on_sqlite.query("SELECT at FROM people")}
    assert stamp == moments[-1]


def test_a_batch_that_another_worker_does_meanwhile(on_sqlite: Engine) -> None:
    """The same message is worked through in between: under the lock there is nothing left to do, and what was decided is thrown away."""
    answers: list[str] = []
    cls = meddled(on_sqlite, lambda: answers.append(tasks.run(on_sqlite.settings, job.FORMAT, "c1", 1)))
    state = on_sqlite.migrate(cls)
    assert answers
    assert "back" not in answers[0]
    assert (state["migrated"], state["failed"]) == (3, 0)
    assert [[event.kind for event in on_sqlite.events(cls, key)].count("begin") for key in "123"] == [1, 1, 1]
